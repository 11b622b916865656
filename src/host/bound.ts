/** Words before a program that the kernel kills when we end. */
export const BOUND = ['setpriv', '--pdeathsig', 'KILL', '--'] as const

/**
 * The command that runs a program bound to this process: the kernel kills it when we end, however we
 * do (prctl(2), PR_SET_PDEATHSIG).
 *
 * That holds from the moment it is asked for, so a program whose parent ended between the fork and the
 * asking would live on. The shell (its text is constant; the words are its arguments) therefore looks
 * whether we are still the parent, and only then becomes the program.
 */
export function bound(file: string, args: readonly string[]): [file: string, args: string[]] {
  const [flag, script, ...words] = args
  if (file !== 'sh' || flag !== '-c') return checked('exec "$@"', file, args)
  // A script is run by the shell that looks.
  const checkedScript = `[ "$PPID" = ${process.pid} ] || exit\n${script}`
  return withSetpriv(['sh', '-c', checkedScript, ...words])
}

/**
 * The same, with a companion that kills the whole process group when descriptor 3 ends without a word:
 * a pipe whose other end we hold, as a {@link letGo} or our death ends it.
 */
export function leashed(file: string, args: readonly string[]): [file: string, args: string[]] {
  const companion = `(trap '' HUP INT TERM; read -r _ <&3 || kill -KILL 0) </dev/null >/dev/null 2>&1 &`
  return checked(`${companion} exec 3<&-; exec "$@"`, file, args)
}

function checked(then: string, file: string, args: readonly string[]): [string, string[]] {
  const script = `[ "$PPID" = "$0" ] || exit; ${then}`
  const parent = String(process.pid)
  return withSetpriv(['sh', '-c', script, parent, file, ...args])
}

function withSetpriv(command: readonly string[]): [string, string[]] {
  const [setpriv, ...options] = BOUND
  return [setpriv, [...options, ...command]]
}

/** What to write to descriptor 3 when the program has ended in order. */
export const letGo = 'done\n'

/** Whether it ended because the program is not there; told by the shell that was to become it. */
export function isMissing(
  { exitCode, stderr }: { exitCode?: number; stderr: string },
  file: string,
) {
  return exitCode === 127 && stderr.startsWith(`${process.pid}: `) && stderr.includes(file)
}
