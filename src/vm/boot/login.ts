import { logIn } from '../../console/login.ts'
import type { Login } from '../../console/login-prompt.ts'
import type { Shell } from '../../console/shell.ts'
import { firstLine, UsageError } from '../../errors.ts'
import { AGENT_DISK } from '../../qemu/guest-args.ts'
import type { Machine } from '../instance/running-guest.ts'

interface EnterOptions {
  login?: Login
  signal: AbortSignal
  onStage: (stage: string) => void
}

const AGENT_PATIENCE_MS = 30_000

/**
 * Gets a shell under our protocol at a guest's console, where it has a login; else `noShell` is why not.
 *
 * @throws GuestError when the guest refuses the login
 */
export async function enterShell(
  machine: Machine,
  { login, signal, onStage }: EnterOptions,
): Promise<void> {
  const { console, agent, where } = machine
  if (login === undefined) {
    agent.absent = 'nobody logs in to it, for its spec has no login'
    machine.noShell = () =>
      new UsageError(`${where.vm}: nobody is logged in at the console`, {
        hint: `give the VM a login: { user, password }, or use vm.console`,
      })
    return
  }
  onStage('login')
  await logIn(console, login, { signal })
  onStage('shell')
}

/** Starts the agent where the guest allows that; else `agent.absent` says why there is none. */
export async function startAgent(
  { agent }: Machine,
  shell: Shell,
  signal: AbortSignal,
): Promise<void> {
  agent.absent = undefined
  try {
    const options = { signal }
    const { steps, output } = await shell.cmd(START_AGENT, '', AGENT_PATIENCE_MS, options)
    if (steps[0]?.exitCode === 0) await agent.hello({ timeoutMs: AGENT_PATIENCE_MS, signal })
    else agent.absent = output.trim().split('\n').at(-1) || 'it did not start'
  } catch (error) {
    signal.throwIfAborted()
    agent.absent = firstLine(error)
  }
}

// Copied from its disk to where programs may be started, which /run often is not. It becomes a daemon
// there, and its file is not needed any more.
const START_AGENT = `(
modprobe -qa virtio_blk virtio_console
for disk in /sys/block/vd*; do
  [ "$(cat $disk/serial 2>/dev/null)" = ${AGENT_DISK} ] || continue
  for folder in /run /dev/shm /tmp /root; do
    program=$folder/${AGENT_DISK}
    cat /dev/\${disk##*/} 2>/dev/null >$program && chmod 700 $program || continue
    $program serve; status=$?
    rm -f $program
    [ $status = 126 ] || exit $status
  done
  echo 'it could not be copied, which takes root'; exit 1
done
echo 'no virtio disk has it: is the module virtio_blk there?'; exit 1
) 2>&1`
