/**
 * What a bash does before its first prompt: it is quiet from then on, as is systemd (its signal for
 * that is documented in systemd(1)), and says that it is there.
 */
const ANNOUNCE = [
  'unset PROMPT_COMMAND HISTFILE PS0',
  'set +H',
  '[ ! -d /run/systemd/system ] || kill -s RTMIN+21 1 2>/dev/null',
  'dmesg -n 1 2>/dev/null',
  'printf "\\036dut-shell %s\\036\\n" "$$"',
].join('; ')

/** What a shell says that has no bash. */
export const NO_BASH = '\x1edut-no-bash\x1e'

// Also -ixoff: a terminal that is typed to faster than it reads would print XOFF and XON.
const STTY = 'stty -echo -opost -ixon -ixoff icanon isig icrnl rows 50 cols 1000'

/**
 * The line that puts a quiet bash in place of any Bourne shell. No mark is in it, so that its echo is
 * none; a bash takes its PROMPT_COMMAND from the environment, and no file of the guest's gets in between.
 * The environment is env's (env(1)): a shell would refuse to change what a profile made read-only. No
 * TMOUT is in it, which ends a bash that waits for so many seconds (bash(1)).
 */
export function takeOverLine(): string {
  const none = `printf '\\036dut-no-bash\\036\\n'`
  return (
    ` ${STTY}; command -v bash >/dev/null || ${none}; ` +
    `exec env -u TMOUT PS1= PS2= TERM=dumb PROMPT_COMMAND='${ANNOUNCE}' ` +
    'bash --noprofile --norc --noediting -i\r'
  )
}
