/** What a shell prints for `echo token`, after what was done to it. */
export interface ShellModel {
  /** Where its output goes: to the terminal, or away. */
  out: boolean
  err: boolean
  isTraced: boolean
  /** The words of a DEBUG trap. */
  trap: '' | ':' | 'echo dbg'
  /** A job may print `late` at any time. */
  late: boolean
  /** A function has the name `trap`; not found by a shell that follows POSIX. */
  isTrapHidden: boolean
  isPosix: boolean
}

export const FRESH: ShellModel = {
  ...{ out: true, err: true, isTraced: false, trap: '', late: false },
  ...{ isTrapHidden: false, isPosix: false },
}

/** A command that changes a shell, and what that does to what it prints. */
export interface Change {
  command: string
  model?: Partial<ShellModel>
}

/** The shell after a command has done to it what it does. */
export function changed(before: ShellModel, { model = {} }: Change): ShellModel {
  const { trap, isTrapHidden, ...rest } = model
  const isDeaf = before.isTrapHidden && !before.isPosix
  return {
    ...{ ...before, ...rest },
    ...(trap !== undefined && !isDeaf && { trap }),
    ...(isTrapHidden !== undefined && !(isTrapHidden && before.isPosix) && { isTrapHidden }),
  }
}

const plain = (...commands: string[]): Change[] => commands.map((command) => ({ command }))

/** `folder` has files to be sourced and shown. */
export function changes(folder: string): Change[] {
  return [
    ...plain(
      ...[`PS1='\\u@\\h:\\w\\$ '`, `PS1='$(echo dyn)> '`, `PS1="(venv) $PS1"`, 'unset PS1', 'PS1='],
      ...[`PS1=$'two\\nlines$ '`, 'readonly PS1', 'export PS1', `PS1='$? \\! \\# '`],
      ...[`PS2='>> '`, 'readonly PS2', 'unset PS2', `PS0='ps0 '`, 'unset PS0', `PS4='+ '`],
      ...[
        `PROMPT_COMMAND='echo pc'`,
        `PROMPT_COMMAND='history -a'`,
        `PROMPT_COMMAND=('echo a' 'printf b')`,
      ],
      ...['readonly PROMPT_COMMAND', 'unset PROMPT_COMMAND', `PROMPT_COMMAND='PS1="$? $ "'`],
      ...[`PROMPT_COMMAND='sleep 0.02; printf slow'`, 'readonly TERM', 'unset TERM', 'TERM=xterm'],
      ...['stty sane', 'stty echo', 'stty -echo', 'stty raw', 'stty -icanon', 'stty opost onlcr'],
      ...['stty cols 20', 'stty -isig', 'stty icanon isig icrnl -echo -opost', 'stty echoctl echo'],
      ...['set -e', 'set +e', 'set -u', 'set +u', 'set -o vi', 'set +o vi'],
      ...[
        'set -f',
        'set -C',
        'set -o pipefail',
        'set -T',
        'set +T',
        'set -E',
        'set -H',
        'set -o noglob',
      ],
      ...[
        'shopt -s failglob',
        'shopt -s xpg_echo',
        'shopt -u expand_aliases',
        'shopt -s nocasematch',
      ],
      ...[`trap 'echo err' ERR`, 'trap - ERR', `trap 'echo bye' EXIT`, `trap '' INT`, 'trap - INT'],
      ...[`trap 'echo ret' RETURN`, `trap 'echo term' TERM`, `trap : USR1`],
      ...[
        '( PS1=x; exit 3 )',
        '(exec >/dev/null; echo hidden)',
        `bash -c 'exit 4'`,
        '(set -e; false)',
      ],
      ...['IFS=0123456789', 'IFS=', 'unset IFS', 'IFS=:', 'readonly IFS', `IFS=$' \\t\\n'`],
      ...[
        `alias eval=false`,
        `alias printf='printf x'`,
        `alias ls='ls --color'`,
        'unalias -a',
        `alias :=false`,
      ],
      ...['printf() { builtin echo fake; }', 'eval() { builtin echo no; }'],
      ...['command() { :; }', 'enable -n printf', 'enable printf'],
      ...[
        'unset HOME',
        'unset _',
        'unset LINENO',
        'unset __dut_line',
        'unset BASH_ENV',
        'cd /',
        'cd /nowhere',
      ],
      ...[
        'export LC_ALL=C',
        'export LANG=de_DE.UTF-8',
        'LC_ALL=xx_YY',
        'unset LC_ALL',
        'LANG=C.UTF-8',
      ],
      ...[
        'sleep 0.01 &',
        '(sleep 0.03; true) & sleep 0.01',
        'wait',
        'jobs',
        'false',
        '(exit 7)',
        'true',
      ],
      ...[
        `printf '\\033[H\\033[2J'`,
        `printf '\\033]0;title\\007'`,
        `printf '\\033]unfinished'`,
        `printf '\\033['`,
      ],
      ...[
        `printf '\\016'`,
        `printf '\\r'`,
        `printf 'no newline'`,
        `printf '\\036'`,
        'head -c 3000 /bin/true',
      ],
      ...[
        `cat ${folder}/transcript`,
        `tail -c 3000 ${folder}/transcript`,
        `. ${folder}/activate`,
        'deactivate',
      ],
      ...[
        'echo $((1/0))',
        'echo ${nope?gone}',
        'x=1; readonly x; x=2',
        'export A=b',
        'set -- a b c',
        'shift',
      ],
      ...[
        'for',
        'echo "open',
        `echo 'open`,
        'echo )',
        'if true; then',
        'case x in',
        'echo $(',
        'cat <<EOF',
      ],
      ...[
        'false | true',
        'true | false',
        '! true',
        'nosuchcommand',
        './nosuchfile',
        'umask 077',
        '# nothing',
        '',
      ],
      ...[
        'history -c',
        'set +o history',
        'hash -r',
        'exec 5>&1',
        'exec 5>&-',
        'exec 9</dev/null',
        'ulimit -c 0',
      ],
      ...[
        'echo a\necho b',
        'cat <<EOF\nx\nEOF',
        `printf '%s\\n' "a\tb"`,
        `echo ${'x'.repeat(3000)}`,
      ],
      ...[
        'f() { local v=1; return 5; }; f',
        'declare -a list=(1 2)',
        'mapfile -t list </dev/null',
        'type ls',
      ],
    ),
    { command: 'trap() { :; }', model: { isTrapHidden: true } },
    { command: 'unset -f printf eval trap command', model: { isTrapHidden: false } },
    { command: 'set -o posix', model: { isPosix: true } },
    { command: 'set +o posix', model: { isPosix: false } },
    { command: 'exec 2>/dev/null', model: { err: false } },
    { command: `exec 2>|${folder}/err`, model: { err: false } },
    { command: `exec >|${folder}/out 2>&1`, model: { out: false, err: false } },
    { command: 'exec >/dev/null', model: { out: false } },
    { command: 'exec >/dev/tty', model: { out: true } },
    { command: 'exec >/dev/tty 2>&1', model: { out: true, err: true } },
    { command: 'exec 2>/dev/tty', model: { err: true } },
    { command: 'set -x', model: { isTraced: true } },
    { command: 'set +x', model: { isTraced: false } },
    { command: `trap 'echo dbg' DEBUG`, model: { trap: 'echo dbg' } },
    { command: 'trap - DEBUG', model: { trap: '' } },
    { command: 'trap : DEBUG', model: { trap: ':' } },
    { command: '(sleep 0.02; echo late) &', model: { late: true } },
  ]
}

/** Whether `output` is what such a shell prints for `echo token`. */
export function isRight(output: string, token: string, model: ShellModel): boolean {
  const text = model.late ? output.replaceAll('late\n', '') : output
  const isShown = model.isTraced && model.err
  const lines = [
    // A trace shows a trap's own commands one level deeper.
    ...(model.trap !== '' && isShown ? [`++ ${model.trap}\n`] : []),
    ...(model.trap === 'echo dbg' && model.out ? ['dbg\n'] : []),
    ...(isShown ? [`+ echo ${token}\n`] : []),
    ...(model.out ? [`${token}\n`] : []),
  ]
  return text === lines.join('')
}
