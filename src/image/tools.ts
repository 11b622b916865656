import { InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'
import { ARCHS, type Arch, type ArchName } from './arch.ts'

/** What the build runs or reads, and the Debian package that has it. */
const packagesOf = ({ compiler, compilerPackages }: Arch): Record<string, string> => ({
  mmdebstrap: 'mmdebstrap',
  [compiler]: compilerPackages.compiler,
  'libc.a': compilerPackages.libc,
  depmod: 'kmod',
  sqfstar: 'squashfs-tools',
  'dpkg-deb': 'dpkg',
  'apt-get': 'apt',
  'debian-archive-keyring.gpg': 'debian-archive-keyring',
  newuidmap: 'uidmap',
  subuid: '',
})

// One program for all questions: over OpenSSH each would be a round trip. Prints what is missing.
const ask = ({ compiler, native }: Arch) => `
for name in mmdebstrap ${compiler} sqfstar dpkg-deb apt-get; do
  command -v "$name" >/dev/null || echo "$name"
done
${native ? '' : 'PATH=$PATH:/usr/sbin:/sbin command -v depmod >/dev/null || echo depmod'}
case $(${compiler} -print-file-name=libc.a 2>/dev/null) in /*) ;; *) echo libc.a ;; esac
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
export async function checkTools(
  host: Host,
  { architecture = 'amd64', signal }: { architecture?: ArchName; signal?: AbortSignal } = {},
): Promise<void> {
  const arch = ARCHS[architecture]
  const known = packagesOf(arch)
  const { stdout } = await host.run('sh', ['-c', ask(arch)], { signal })
  const missing = stdout.split('\n').filter((name) => name in known)
  if (missing.length === 0) return
  const packages = [...new Set(missing.map((name) => known[name]).filter(Boolean))]
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
