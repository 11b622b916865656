// Vitest's set-up file, in every worker. Ctrl-C reaches the whole foreground process group; what it
// means is for the main process to decide, which then has the workers tear down in order. (SIGTERM is
// left alone: it is how Vitest itself ends a worker.)
const INSTALLED = Symbol.for('vitest-dut.signals')
const globals = globalThis as { [INSTALLED]?: boolean }

if (!globals[INSTALLED]) {
  globals[INSTALLED] = true
  process.on('SIGINT', () => {})
  process.on('SIGHUP', () => {})
}
