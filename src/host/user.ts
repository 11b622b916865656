import { userInfo } from 'node:os'
import { InfrastructureError } from '../errors.ts'

/** Number of the user whose files ours are. passwd(5) may not know it, as in a container. */
export function userId(): number {
  return process.geteuid?.() ?? -1
}

/**
 * The folder of the user's own files: `$HOME`, or what passwd(5) has.
 *
 * @param variable names the folder that is wanted, for the error
 * @throws InfrastructureError where neither says
 */
export function homeFolder(variable: string): string {
  const { HOME } = process.env
  if (HOME) return HOME
  try {
    return userInfo().homedir
  } catch (cause) {
    throw new InfrastructureError(
      `this user has no home folder: HOME is not set, and passwd(5) does not know uid ${userId()}`,
      { hint: `set HOME, or ${variable}, to a folder of this user's`, cause },
    )
  }
}
