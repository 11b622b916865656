import { InfrastructureError } from '../errors.ts'
import type { Qmp } from '../qemu/qmp.ts'
import { poll } from '../wait.ts'
import type { Machine } from './launch.ts'

/** A machine's state as a file, with its memory or, where that is a file already, without. */
interface StateFile {
  path: string
  withMemory: boolean
}

const PATIENCE_MS = 120_000

/** Stops a machine and writes it into a file. */
export async function saveState(machine: Machine, file: StateFile): Promise<void> {
  await machine.qmp.execute('stop')
  await leaveMemoryOut(machine.qmp, !file.withMemory)
  await machine.qmp.execute('migrate', { uri: `exec:cat > ${shellWord(file.path)}` })
  await migrated(machine)
}

/** Makes a machine that was started with `incoming` the one that was saved; it does not run yet. */
export async function loadState(machine: Machine, file: StateFile): Promise<void> {
  await leaveMemoryOut(machine.qmp, !file.withMemory)
  await machine.qmp.execute('migrate-incoming', { uri: `exec:cat ${shellWord(file.path)}` })
  await migrated(machine)
}

async function leaveMemoryOut(qmp: Qmp, state: boolean): Promise<void> {
  await qmp.execute('migrate-set-capabilities', {
    capabilities: [{ capability: 'x-ignore-shared', state }],
  })
}

async function migrated({ qmp, life, where }: Machine): Promise<void> {
  const over = async () => {
    const { status, 'error-desc': reason } = await qmp.execute('query-migrate')
    if (status === 'completed') return true
    if (status !== 'failed' && status !== 'cancelled') return undefined
    throw new InfrastructureError(`QEMU could not save or restore: ${reason ?? status}`, where)
  }
  await poll(over, { everyMs: 1, timeoutMs: PATIENCE_MS, signal: life.ended })
}

function shellWord(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
