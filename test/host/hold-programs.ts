// Starts one program on a terminal, one without, and one of each kind with a child on a leash; says the
// ids of all and stays.
import { localHost } from '../../src/host/local.ts'

const host = localHost()
const pty = host.openPty('sh', ['-c', 'trap "" HUP TERM INT; while :; do read line; done'])
pty.onData(() => {})
const plain = new Promise<string>((resolve) => {
  const script = 'echo $$; trap "" HUP TERM INT PIPE; exec tail -f /dev/null'
  void host.run('sh', ['-c', script], { onOutput: resolve })
})
const script = 'trap "" HUP TERM INT PIPE; tail -f /dev/null & echo $$ $!; wait'
const family = new Promise<string>((resolve) => {
  void host.run('sh', ['-c', script], { onOutput: resolve, leash: true })
})
const onTerminal = new Promise<string>((resolve) => {
  host.openPty('sh', ['-c', script], { leash: true }).onData((data) => resolve(String(data)))
})
const said = await Promise.all([plain, family, onTerminal])
console.log([pty.pid, ...said.map((text) => text.trim())].join(' '))
