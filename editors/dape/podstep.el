;;; podstep.el --- podstep for dape  -*- lexical-binding: t; -*-

;; Step through the requests of a target, here a process on this machine:
;;   M-x dape RET podstep-go :mirror (:target "process/4242" :incoming (:mode "steal"))

;;; Code:

(require 'dape)

(defun podstep--target ()
  "Ask for the target."
  (read-string "Target: " "process/"))

(add-to-list 'dape-configs
             `(podstep-go
               modes (go-mode go-ts-mode)
               ensure dape-ensure-command
               command "podstep"
               command-args ("dap" "--debugger" "dlv")
               command-cwd dape-command-cwd
               :type "podstep"
               :request "launch"
               :debugger "dlv"
               :program "."
               :cwd dape-cwd
               :mirror (:target podstep--target :incoming (:mode "steal"))))

(add-to-list 'dape-configs
             `(podstep-python
               modes (python-mode python-ts-mode)
               ensure dape-ensure-command
               command "podstep"
               command-args ("dap" "--debugger" "debugpy")
               command-cwd dape-command-cwd
               :type "podstep"
               :request "launch"
               :debugger "debugpy"
               :program dape-buffer-default
               :cwd dape-cwd
               :subProcess :json-false
               :mirror (:target podstep--target :incoming (:mode "steal"))))

(provide 'podstep)
;;; podstep.el ends here
