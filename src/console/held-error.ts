import { GuestError } from '../errors.ts'
import type { Console } from './console.ts'
import type { Foreground } from './foreground.ts'

/** The error for a command that cannot be typed, since the program of another has the console. */
export function heldError(
  console: Console,
  { heldBy, seen }: { heldBy: string; seen?: Foreground },
  command: string,
): GuestError {
  const holder = seen
    ? `${JSON.stringify(seen.name)} (process ${seen.pid})`
    : JSON.stringify(heldBy)
  return new GuestError(
    `the console is still held by ${holder}, which ended neither by Ctrl-C nor by Ctrl-\\`,
    {
      ...{ ...console.where, command, tail: console.tail() },
      hint: "end it with vm.exec('kill …'), or go on in a session of its own: vm.session()",
    },
  )
}

/** The error for a command that cannot be typed, since the shell waits at the console and says nothing. */
export function silentError(
  console: Console,
  { heldBy }: { heldBy: string },
  command: string,
): GuestError {
  return new GuestError(
    `the shell at the console does not answer since ${JSON.stringify(heldBy)} was run in it`,
    {
      ...{ ...console.where, command, tail: console.tail() },
      hint: 'go on in a session of its own: vm.session(); commands are answered by printf, eval and echo',
    },
  )
}
