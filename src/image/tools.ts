import { InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'

/** What the build runs or reads, and the Debian package that has it. */
const PACKAGES: Record<string, string> = {
  mmdebstrap: 'mmdebstrap',
  gcc: 'gcc',
  'libc.a': 'libc6-dev',
  sqfstar: 'squashfs-tools',
  'dpkg-deb': 'dpkg',
  'apt-get': 'apt',
  'debian-archive-keyring.gpg': 'debian-archive-keyring',
  newuidmap: 'uidmap',
  subuid: '',
}

// One program for all questions: over OpenSSH each would be a round trip. Prints what is missing.
const ASK = `
for name in mmdebstrap gcc sqfstar dpkg-deb apt-get; do
  command -v "$name" >/dev/null || echo "$name"
done
case $(gcc -print-file-name=libc.a 2>/dev/null) in /*) ;; *) echo libc.a ;; esac
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || echo debian-archive-keyring.gpg
if [ "$(id -u)" != 0 ]; then
  command -v newuidmap >/dev/null || echo newuidmap
  grep -q "^$(id -un):\\|^$(id -u):" /etc/subuid && grep -q "^$(id -un):\\|^$(id -u):" /etc/subgid ||
    echo subuid
fi
`

/**
 * @throws InfrastructureError that lists everything the host lacks for building a guest, and how to
 * get it
 */
export async function checkTools(host: Host, signal?: AbortSignal): Promise<void> {
  const { stdout } = await host.run('sh', ['-c', ASK], { signal })
  const missing = stdout.split('\n').filter((name) => name in PACKAGES)
  if (missing.length === 0) return
  const packages = [...new Set(missing.map((name) => PACKAGES[name]).filter(Boolean))]
  const steps: string[] = []
  if (packages.length > 0) steps.push(`apt-get install ${packages.join(' ')}`)
  if (missing.includes('subuid')) {
    steps.push('usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER')
  }
  const names = missing.map((name) => (name === 'subuid' ? 'subuid and subgid ranges' : name))
  throw new InfrastructureError(`cannot build the default guest: missing ${names.join(', ')}`, {
    hint: `as root on ${host.name}: ${steps.join(' && ')}`,
  })
}
