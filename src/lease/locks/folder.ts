import { InfrastructureError } from '../../errors.ts'
import type { Host } from '../../host/host.ts'

/** The folder of all users of a host. */
const COMMON = '/run/lock/vitest-dut'

/*
 * Everybody on a host must come to the same folder, also other users. The first one makes it, open to
 * all and sticky (inode(7)), so that nobody removes what is another's. Its owner still could, and an
 * ordinary user may be the first: the others use it all the same, for nothing in it is opened through
 * a link, and root, who has more to lose, takes it over. (chown -h: were it swapped for a link
 * meanwhile, the link would be changed, not what it leads to. Once it is root's, nobody can swap it.)
 *
 * Prints the folder that it comes to, then our user id, the folder's owner and mode (of a link, the
 * link's own) and the owner's name, then why it cannot be written, where it cannot.
 */
const LOOK = `
export LC_ALL=C
tell() {
  facts=$(stat --format '%u %f %U' -- "$1") || exit 0
  [ -w "$1" ] && [ -x "$1" ] || obstacle=$(mktemp -- "$1/XXXXXX" 2>&1)
  printf '%s\\n' "$1" "$(id -u) $facts" "\${obstacle:-}"
  exit
}
given=\${VITEST_DUT_LOCK_DIR%/}
if [ -n "$given" ]; then
  case $given in /*) ;; *) given=$PWD/$given ;; esac
  mkdir -p -m 1777 -- "$given"
  tell "$given"
fi
mkdir -m 1777 ${COMMON} && tell ${COMMON}
if [ -e ${COMMON} ] || [ -L ${COMMON} ]; then
  [ "$(id -u)" = 0 ] && chown -h root ${COMMON} 2>/dev/null
  tell ${COMMON}
fi
for own in "\${XDG_RUNTIME_DIR:-/nowhere}/vitest-dut-lock" "\${TMPDIR:-/tmp}/vitest-dut-lock-$(id -u)"; do
  mkdir -m 700 -- "$own" && tell "$own"
  [ -d "$own" ] && tell "$own"
done
`

const folders = new WeakMap<Host, Promise<string>>()

/**
 * The host's folder of lock files, made where there is none: `/run/lock/vitest-dut`, shared by all
 * users; where that cannot be made, one of this user's own, which then excludes only their own runs.
 * `VITEST_DUT_LOCK_DIR`, in the host's environment, names another.
 *
 * @throws InfrastructureError where it cannot be written, or others could take away the locks in it
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
  const { stdout, stderr } = await host.run('sh', ['-c', LOOK])
  const [path = '', facts, obstacle = ''] = stdout.split('\n')
  if (facts === undefined) {
    const reasons = stderr
      .trim()
      .replaceAll(/^\w+: /gm, '')
      .replaceAll('\n', '; ')
    throw refused(host, `no folder for lock files can be made: ${reasons}`, ANOTHER)
  }
  const { me, owner, mode, ownerName } = parse(facts)
  if ((mode & FORMAT) !== FOLDER) {
    throw refused(host, `${path} should be the folder for lock files and is none`, REMOVE)
  }
  const repair = `${owner === me ? '' : `chown root: ${path} && `}chmod 1777 ${path}`
  const line = owner === me ? `type: ${repair}` : `as root on ${host.name}: ${repair}`
  if ((mode & WRITTEN_BY_OTHERS) !== 0 && (mode & STICKY) === 0) {
    throw refused(host, `anybody could take others' locks away in ${path}: it is not sticky`, line)
  }
  const forAll = path === COMMON && me !== 0 && (mode & FOR_ALL) === FOR_ALL
  if (owner !== 0 && owner !== me && !forAll) {
    throw refused(host, `the folder for lock files, ${path}, belongs to ${ownerName}`, line)
  }
  if (obstacle !== '') {
    const why = obstacle.slice(obstacle.lastIndexOf(': ') + 2)
    const hint = path === COMMON && why === 'Permission denied' ? line : ANOTHER
    throw refused(host, `the folder for lock files, ${path}, cannot be written: ${why}`, hint)
  }
  return path
}

const ANOTHER = 'set VITEST_DUT_LOCK_DIR to a folder that every user of this host can write'
const REMOVE = 'remove it, or set VITEST_DUT_LOCK_DIR to another path'

// inode(7)
const FORMAT = 0o170000
const FOLDER = 0o040000
const STICKY = 0o1000
const FOR_ALL = 0o1777
const WRITTEN_BY_OTHERS = 0o022

function parse(facts: string) {
  const [me, owner, mode, ownerName] = facts.split(' ')
  return {
    ...{ me: Number(me), owner: Number(owner) },
    mode: Number.parseInt(mode ?? '', 16),
    ownerName: ownerName === 'UNKNOWN' ? `user ${owner}` : ownerName,
  }
}

function refused(host: Host, message: string, hint: string): InfrastructureError {
  return new InfrastructureError(message, { dut: host.name, hint })
}

/** Path of the lock called `name` in the host's folder; two names never share one. */
export async function lockPath(host: Host, name: string): Promise<string> {
  return `${await lockFolder(host)}/${encodeURIComponent(name)}`
}
