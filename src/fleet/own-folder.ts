import { firstLine, InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'
import { userId } from '../host/user.ts'

/** st_mode of a folder with mode 700, as stat(1) shows it (inode(7)). */
const OWN_FOLDER = '41c0'

interface OwnFolder {
  path: string
  /** For messages, e.g. `run folder`. */
  what: string
  /** The environment variable that names another one. */
  variable: string
}

/**
 * Makes sure of a folder that is this user's alone, in a place where others can make some, too.
 *
 * @throws InfrastructureError where it is not, or cannot be made or written
 */
export async function openOwnFolder(
  host: Host,
  { path, what, variable }: OwnFolder,
): Promise<string> {
  const hint = `set ${variable} to a folder of your own with mode 700`
  await host.makeDir(path, 0o700).catch((cause) => {
    const message = `the ${what} ${path} cannot be made: ${firstLine(cause)}`
    throw new InfrastructureError(message, { hint, cause })
  })
  // In a folder that everybody can write to, somebody else may have made ours before us. (The kind as a
  // number: its name is in the user's language.)
  const { stdout } = await host.run('stat', ['--format', '%u %f', '--', path])
  if (stdout.trim() !== `${userId()} ${OWN_FOLDER}`) {
    throw new InfrastructureError(`${path} is not a folder of this user's alone`, {
      hint: `remove it, or ${hint}`,
    })
  }
  if (!(await host.fileFacts(path))?.writable) {
    throw new InfrastructureError(`the ${what} ${path} cannot be written`, { hint })
  }
  return path
}
