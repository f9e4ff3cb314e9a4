package config

import "slices"

// Variables is a group of environment variables that stay this machine's, and why.
type Variables struct {
	Why   string
	Names []string
}

// LocalVariables lists the variables of the target that the debuggee does not get unless "include" spells one out: they
// describe the target's file system or its login, and a process on this machine would break with them.
func LocalVariables() []Variables {
	return []Variables{
		{"where programs and the user's files are", []string{"PATH", "HOME", "USER", "LOGNAME", "MAIL", "TMPDIR", "TMP", "TEMP", "XDG_*", "INFOPATH", "MANPATH"}},
		{"the shell and its start-up files", []string{"SHELL", "SHLVL", "PWD", "OLDPWD", "_", "IFS", "PS1", "BASH_ENV", "BASH_FUNC_*", "PROMPT_COMMAND"}},
		{"the terminal and the desktop", []string{"TERM", "TERMINFO*", "COLORTERM", "COLUMNS", "LINES", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_*", "EDITOR", "VISUAL", "PAGER"}},
		{"languages, whose files may not be installed here", []string{"LANG", "LANGUAGE", "LC_*", "LOCPATH", "NLSPATH"}},
		{"agents and helpers of the login", []string{"SSH_*", "GPG_*", "SUDO_*", "VSCODE_*", "GIT_DIR", "GIT_WORK_TREE", "GIT_EXEC_PATH", "GIT_SSH*"}},
		{"the dynamic linker and malloc", []string{"LD_*", "GLIBC_TUNABLES", "GCONV_PATH", "MALLOC_*", "ASAN_OPTIONS"}},
		{"the service manager's sockets", []string{"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "WATCHDOG_*", "CREDENTIALS_DIRECTORY"}},
		{"certificates in the target's file system", []string{"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"}},
		{"Go's directories and tool chain", []string{"GOPATH", "GOROOT", "GOBIN", "GOCACHE", "GOMODCACHE", "GOTMPDIR", "GOENV", "GOFLAGS", "GOTOOLCHAIN", "GOWORK", "GOCOVERDIR", "GOOS", "GOARCH"}},
		{"Python's directories", []string{"PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONEXECUTABLE", "PYTHONSTARTUP", "PYTHONPYCACHEPREFIX", "PYTHONBREAKPOINT", "VIRTUAL_ENV*", "CONDA_*", "PYDEVD_*", "DEBUGPY_*"}},
		{"Java's directories and agents", []string{"JAVA_HOME", "JRE_HOME", "CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"}},
		{"Node's directories and preloads", []string{"NODE_PATH", "NODE_OPTIONS", "NODE_REPL_*", "NVM_*", "npm_*", "NPM_CONFIG_*"}},
		{"Ruby's, Perl's, PHP's, .NET's and Rust's directories and preloads", []string{"GEM_*", "BUNDLE_*", "RUBYLIB", "RUBYOPT", "PERL5*", "PHPRC", "PHP_INI_*", "DOTNET_ROOT*", "DOTNET_STARTUP_HOOKS", "CORECLR_*", "CARGO_*", "RUSTUP_*"}},
		{"podstep's own", []string{"PODSTEP_*"}},
	}
}

func staysLocal(name string) bool {
	return slices.ContainsFunc(LocalVariables(), func(v Variables) bool { return matches(v.Names, name) })
}
