// Starts one program on a terminal and one without, says their ids, and stays.
import { localHost } from '../../src/host/local.ts'

const host = localHost()
const pty = host.openPty('sh', ['-c', 'trap "" HUP TERM INT; while :; do read line; done'])
pty.onData(() => {})
void host.run('sh', ['-c', 'echo $$; trap "" HUP TERM INT PIPE; exec tail -f /dev/null'], {
  onOutput: (text) => console.log(`${pty.pid} ${text.trim()}`),
})
