/**
 * The command that runs a program bound to this process: the kernel kills it when we end, however we
 * do (prctl(2), PR_SET_PDEATHSIG).
 *
 * That holds from the moment it is asked for, so a program whose parent ended between the fork and the
 * asking would live on. The shell (its text is constant; the words are its arguments) therefore looks
 * whether we are still the parent, and only then becomes the program.
 */
export function bound(file: string, args: readonly string[]): [file: string, args: string[]] {
  const check = '[ "$PPID" = "$0" ] && exec "$@"'
  const parent = String(process.pid)
  return ['setpriv', ['--pdeathsig', 'KILL', '--', 'sh', '-c', check, parent, file, ...args]]
}

/** Whether it ended because the program is not there; told by the shell of {@link bound}. */
export function isMissing(
  { exitCode, stderr }: { exitCode?: number; stderr: string },
  file: string,
) {
  return exitCode === 127 && stderr.startsWith(`${process.pid}: `) && stderr.includes(file)
}
