import { AbortController, anySignal } from '../../abort.ts'
import { InfrastructureError } from '../../errors.ts'
import type { Host } from '../../host/host.ts'
import { poll } from '../../wait.ts'
import { orDeath } from '../instance/exit-cause.ts'
import type { Machine } from '../instance/running-guest.ts'

/** A machine's state as a file, with its memory or, where that is a file already, without. */
interface StateFile {
  path: string
  withMemory: boolean
}

const PATIENCE_MS = 120_000
/** Only what is in a pipe is left to be written then. */
const WRITTEN_MS = 10_000
const OVER = ['completed', 'failed', 'cancelled']

/** Stops a machine and writes it into a file, which is there once it is whole. */
export async function saveState(host: Host, machine: Machine, file: StateFile): Promise<void> {
  const [whole, part] = [shellWord(file.path), shellWord(`${file.path}.part`)]
  await machine.qmp.execute('stop')
  await migrate(machine, file, () =>
    machine.qmp.execute('migrate', { uri: `exec:cat > ${part} && mv ${part} ${whole}` }),
  )
  // QEMU has written all of it then, but what it wrote to may not have.
  const written = async () => ((await host.fileFacts(file.path)) ? true : undefined)
  const onTimeout = () =>
    new InfrastructureError(`${file.path} was not written to its end`, {
      ...machine.where,
      hint: 'is its file system full? df shows it',
    })
  const patience = { everyMs: 2, timeoutMs: WRITTEN_MS, signal: machine.life.ended, onTimeout }
  await poll(written, patience)
}

/**
 * How often QEMU tells all networks, by RARP, where a machine is now that it has loaded; its own default.
 * With 0 a NIC that is loaded later, from a snapshot, is without a timer that its reset needs, and QEMU 7.2
 * ends (virtio_net_reset).
 */
const ANNOUNCE_ROUNDS = 5

/** Makes a machine that was started with `incoming` the one that was saved; it does not run yet. */
export async function loadState(machine: Machine, file: StateFile): Promise<void> {
  const announce = (rounds: number) =>
    machine.qmp.execute('migrate-set-parameters', { 'announce-rounds': rounds }).catch(() => {}) // what comes next fails as well
  // It has not moved, and who counts packets would count those.
  void announce(0)
  await migrate(machine, file, () =>
    machine.qmp.execute('migrate-incoming', { uri: `exec:cat ${shellWord(file.path)}` }),
  )
  void announce(ANNOUNCE_ROUNDS)
}

async function migrate(
  machine: Machine,
  { withMemory }: StateFile,
  begin: () => Promise<unknown>,
): Promise<void> {
  const { qmp, life, where } = machine
  // QEMU takes commands in their order: nothing is gained by an answer to the first.
  const able = qmp.execute('migrate-set-capabilities', {
    capabilities: [
      { capability: 'x-ignore-shared', state: !withMemory },
      { capability: 'events', state: true },
    ],
  })
  const refused = new AbortController()
  const over = qmp.once('MIGRATION', {
    timeoutMs: PATIENCE_MS,
    signal: anySignal(life.ended, refused.signal),
    where: ({ data }) => OVER.includes(data.status),
  })
  const begun = Promise.all([able, begin()]).catch((error) => refused.abort(error))
  const { status } = (await Promise.all([over, begun]))[0].data
  if (status === 'completed') return
  // Where it cannot restore, QEMU ends, and has said why.
  const { 'error-desc': reason } = await qmp.execute('query-migrate').catch(async (error) => {
    throw await orDeath(error, machine)
  })
  throw new InfrastructureError(`QEMU could not save or restore: ${reason ?? status}`, where)
}

function shellWord(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
