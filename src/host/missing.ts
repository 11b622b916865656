import { InfrastructureError } from '../errors.ts'

/** The error for a program that the host does not have. */
export function missing(file: string): InfrastructureError {
  return new InfrastructureError(`${file} is not installed on this machine`, {
    command: file,
    hint: `install the package that has ${file}`,
  })
}
