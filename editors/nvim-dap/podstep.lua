-- podstep for nvim-dap: step through the requests of a target, here a process on this machine.
local dap = require('dap')

dap.adapters.podstep = {
  type = 'executable',
  command = 'podstep',
  args = { 'dap' },
  options = { initialize_timeout_sec = 10, disconnect_timeout_sec = 5 },
}

local last = 'process/'

--- Asks for the target, with the last answer as the proposal, and returns the "mirror" block.
local function ask_mirror()
  local answer = vim.fn.input('Target: ', last)
  if answer == '' then
    return dap.ABORT
  end
  last = answer
  return { target = answer, incoming = { mode = 'steal' } }
end

--- A configuration of podstep. nvim-dap calls the functions in it when the session starts.
local function configuration(debugger, program)
  return {
    type = 'podstep',
    request = 'launch',
    name = 'podstep: step through the requests of a target',
    debugger = debugger,
    program = program,
    cwd = '${workspaceFolder}',
    mirror = ask_mirror,
  }
end

for language, entry in pairs({
  go = configuration('dlv', '${workspaceFolder}'),
  python = vim.tbl_extend('force', configuration('debugpy', '${file}'), { subProcess = false }),
}) do
  dap.configurations[language] = dap.configurations[language] or {}
  table.insert(dap.configurations[language], entry)
end
