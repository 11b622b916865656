import { Command, CommanderError } from 'commander'
import { DutError } from '../errors.ts'
import { addClean } from './clean.ts'
import { addConvert } from './convert.ts'
import { addDoctor } from './doctor.ts'
import { addGuest } from './guest.ts'
import { ignoreBrokenPipes } from './output.ts'
import { VERSION } from './package.ts'
import { addPs } from './ps.ts'
import { addTemplate } from './template.ts'

/** Each adds one command, in the order of the help. */
const COMMANDS = [addDoctor, addPs, addClean, addGuest, addTemplate, addConvert]

const HELP = `
Exit status:
  0  done
  1  something is missing or failed, as the message says
  2  the command line is wrong

Examples:
  npx vitest-dut doctor         what this machine has, and what it lacks
  npx vitest-dut ps             who has what of this machine
  npx vitest-dut guest build    build the guest before the first run`

function makeProgram(): Command {
  const program = new Command('vitest-dut')
    .description('Looks after the machine that vitest-dut runs VMs on.')
    .version(VERSION)
    .exitOverride()
    .helpCommand(false)
    .addHelpText('after', HELP)
  for (const add of COMMANDS) add(program)
  return program
}

/** Runs the command line's words and sets the exit status of this process. */
export async function main(words: readonly string[]): Promise<void> {
  ignoreBrokenPipes()
  try {
    await makeProgram().parseAsync(words, { from: 'user' })
  } catch (error) {
    process.exitCode = tell(error)
  }
}

/**
 * Says what went wrong where that has not been said yet; the exit status.
 *
 * @throws what can only be a mistake of ours, for its stack to be seen
 */
function tell(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  // A full disk, or no permission, and the like
  const ofSystem = error instanceof Error && 'syscall' in error
  if (!(error instanceof DutError || ofSystem)) throw error
  process.stderr.write(`${error.message}\n`)
  return 1
}
