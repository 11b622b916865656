// Starts one program on a terminal, one without, and one with a child on a leash; says the ids of all
// and stays.
import { localHost } from '../../src/host/local.ts'

const host = localHost()
const pty = host.openPty('sh', ['-c', 'trap "" HUP TERM INT; while :; do read line; done'])
pty.onData(() => {})
const plain = new Promise<string>((resolve) => {
  const script = 'echo $$; trap "" HUP TERM INT PIPE; exec tail -f /dev/null'
  void host.run('sh', ['-c', script], { onOutput: resolve })
})
const family = new Promise<string>((resolve) => {
  const script = 'trap "" HUP TERM INT PIPE; tail -f /dev/null & echo $$ $!; wait'
  void host.run('sh', ['-c', script], { onOutput: resolve, leash: true })
})
console.log([pty.pid, (await plain).trim(), (await family).trim()].join(' '))
