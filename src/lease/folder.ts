import { InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'

/*
 * Everybody on a host must come to the same folder, also other users. A folder is taken only where
 * it really is one (not a link that somebody left in /tmp), and where this user can add to it.
 */
const FIND_FOLDER = `
use() {
  if [ -d "$1" ] && [ ! -L "$1" ] && [ -w "$1" ] && [ -x "$1" ]; then
    cd -- "$1" && pwd -P
    exit 0
  fi
}
if [ -n "\${VITEST_DUT_LOCK_DIR:-}" ]; then
  mkdir -p -m 1777 -- "$VITEST_DUT_LOCK_DIR" 2>/dev/null
  use "$VITEST_DUT_LOCK_DIR"
  printf %s "$VITEST_DUT_LOCK_DIR" >&2
  exit 1
fi
mkdir -m 1777 /run/lock/vitest-dut 2>/dev/null
use /run/lock/vitest-dut
own="\${XDG_RUNTIME_DIR:-/nowhere}/vitest-dut-lock"
mkdir -m 700 -- "$own" 2>/dev/null
use "$own"
own="\${TMPDIR:-/tmp}/vitest-dut-lock-$(id -u)"
mkdir -m 700 -- "$own" 2>/dev/null
[ -O "$own" ] && use "$own"
printf '/run/lock/vitest-dut, %s' "$own" >&2
exit 1
`

const folders = new WeakMap<Host, Promise<string>>()

/**
 * The host's folder of lock files, made where there is none: `/run/lock/vitest-dut`, shared by all
 * users; where that cannot be written, one of this user's own, which then excludes only their own
 * runs. `VITEST_DUT_LOCK_DIR`, in the host's environment, names another.
 *
 * @throws InfrastructureError where none can be written
 */
export function lockFolder(host: Host): Promise<string> {
  const known = folders.get(host)
  if (known !== undefined) return known
  const found = findFolder(host)
  folders.set(host, found)
  found.catch(() => folders.delete(host))
  return found
}

async function findFolder(host: Host): Promise<string> {
  const { exitCode, stdout, stderr } = await host.run('sh', ['-c', FIND_FOLDER])
  if (exitCode === 0) return stdout.trimEnd()
  throw new InfrastructureError(`no folder for lock files can be written: ${stderr}`, {
    dut: host.name,
    hint: 'set VITEST_DUT_LOCK_DIR to a folder that every user of this host can write',
  })
}

/** Path of the lock called `name` in the host's folder; two names never share one. */
export async function lockPath(host: Host, name: string): Promise<string> {
  return `${await lockFolder(host)}/${encodeURIComponent(name)}`
}
