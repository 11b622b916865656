import { InfrastructureError } from '../errors.ts'
import type { Machine } from './launch.ts'

/** A machine's state as a file, with its memory or, where that is a file already, without. */
interface StateFile {
  path: string
  withMemory: boolean
}

const PATIENCE_MS = 120_000
const OVER = ['completed', 'failed', 'cancelled']

/** Stops a machine and writes it into a file. */
export async function saveState(machine: Machine, file: StateFile): Promise<void> {
  await machine.qmp.execute('stop')
  await migrate(machine, file, () =>
    machine.qmp.execute('migrate', { uri: `exec:cat > ${shellWord(file.path)}` }),
  )
}

/** Makes a machine that was started with `incoming` the one that was saved; it does not run yet. */
export async function loadState(machine: Machine, file: StateFile): Promise<void> {
  await migrate(machine, file, () =>
    machine.qmp.execute('migrate-incoming', { uri: `exec:cat ${shellWord(file.path)}` }),
  )
}

async function migrate(
  { qmp, life, where }: Machine,
  { withMemory }: StateFile,
  begin: () => Promise<unknown>,
): Promise<void> {
  await qmp.execute('migrate-set-capabilities', {
    capabilities: [
      { capability: 'x-ignore-shared', state: !withMemory },
      { capability: 'events', state: true },
    ],
  })
  const refused = new AbortController()
  const over = qmp.once('MIGRATION', {
    timeoutMs: PATIENCE_MS,
    signal: AbortSignal.any([life.ended, refused.signal]),
    where: ({ data }) => OVER.includes(data.status),
  })
  const begun = begin().catch((error) => refused.abort(error))
  const { status } = (await Promise.all([over, begun]))[0].data
  if (status === 'completed') return
  const { 'error-desc': reason } = await qmp.execute('query-migrate')
  throw new InfrastructureError(`QEMU could not save or restore: ${reason ?? status}`, where)
}

function shellWord(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
