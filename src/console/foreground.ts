/** The program that has a terminal, as the guest's kernel knows it. */
export interface Foreground {
  pid: number
  name: string
  /** It waits at its prompt for a line: a bash, or a shell to which no command can be typed. */
  atPrompt?: 'bash' | 'other'
}

/** Runs a bash script beside the console, in the same guest; what it prints. */
export type LookAside = (script: string) => Promise<string>

const SHELL = /^(?:bash|sh|dash|ash|busybox|ksh\d*|mksh|zsh\d*)$/
/**
 * `read` (x86-64, arm64) of a shell's prompt, by its length: 1024 or 256 bytes are bash's, 8192 dash's.
 * The builtin `read` asks for one byte or for 4096.
 */
const READS_A_LINE = /^(?:0|63) 0x0 0x[0-9a-f]+ 0x(?:100|400|2000) /
/** `pselect6` (x86-64, arm64) on the terminal without a deadline: a shell that edits its lines. */
const EDITS_A_LINE = /^(?:270|72) 0x1 0x[0-9a-f]+ 0x0 0x0 0x0 /

/**
 * The program that has the terminal of the last living shell of `pids`; undefined where none lives.
 * Nothing is started for it but the script's own shell.
 */
export async function foregroundOf(
  pids: readonly number[],
  lookAside: LookAside,
): Promise<Foreground | undefined> {
  const text = await lookAside(`group=
for pid in ${[...pids].reverse().join(' ')}; do
  { read -r s </proc/$pid/stat; } 2>/dev/null || continue
  set -- \${s##*) }
  group=$6
  break
done
[ "\${group:-0}" -gt 0 ] || exit 0
for stat in /proc/$group/stat /proc/[0-9]*/stat; do
  { read -r s <$stat; } 2>/dev/null || continue
  set -- \${s##*) }
  [ "$3" = $group ] || continue
  member=\${stat#/proc/}; member=\${member%/stat}
  { read -r name </proc/$member/comm; read -r call </proc/$member/syscall; mapfile -d '' -t words </proc/$member/cmdline; } 2>/dev/null || continue
  exe=$(readlink /proc/$member/exe 2>/dev/null)
  printf '%s\\n' "$member" "$name" "$call" "\${words[*]:1}" "\${exe##*/}"
  break
done`)
  const [pid = '', name = '', call = '', words = '', exe = ''] = text.split('\n')
  if (!/^\d+$/.test(pid)) return undefined
  const shell = exe === '' ? name : exe
  const waits = READS_A_LINE.test(call) || EDITS_A_LINE.test(call)
  const isInteractive = /(?:^| )-i\b/.test(words) || !/(?:^| )(?:[^-\s]|-\w*c)/.test(words)
  const isShell = waits && SHELL.test(shell) && isInteractive
  const kind = shell === 'bash' ? 'bash' : 'other'
  return { pid: Number(pid), name, ...(isShell && { atPrompt: kind }) }
}
