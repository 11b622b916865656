import { Program, type SpawnOptions } from '../console/program.ts'
import { openTerminal } from '../console/terminal.ts'
import type { SessionContext } from './session.ts'

/** See `Vm.spawn`. */
export async function spawnProgram(
  { agent, where, life }: SessionContext,
  command: string,
  options: SpawnOptions,
): Promise<Program> {
  const terminal = openTerminal(agent, command, where)
  const program = new Program(terminal, command, options, { ...where, life })
  try {
    await program.ready(options)
  } catch (error) {
    terminal.close()
    throw error
  }
  return program
}
