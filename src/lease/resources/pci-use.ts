import type { Host } from '../../host/host.ts'

/**
 * What the host itself would lose with a PCI device, in words: addresses of its network interfaces,
 * bridges and bonds that they are part of, file systems, swap, RAID or LVM on its disks. Undefined where it is nothing.
 *
 * @param device its folder in sysfs, without links in the path
 */
export async function hostUse(
  host: Host,
  device: string,
  sysfs: string,
): Promise<string | undefined> {
  const nets = await below(host, `${sysfs}/class/net`, device)
  for (const net of nets) {
    const [upper] = (await host.listDir(`${sysfs}/class/net/${net}`)).filter(isUpper)
    if (upper !== undefined) return `${net} is part of ${upper.slice(UPPER.length)}`
    const addresses = await addressesOf(host, net)
    if (addresses.length > 0) return `${net} is up with ${addresses.join(', ')}`
  }
  const disks = await below(host, `${sysfs}/class/block`, device)
  for (const disk of disks) {
    const [holder] = await host.listDir(`${sysfs}/class/block/${disk}/holders`)
    if (holder !== undefined) return `its disk ${disk} is part of ${holder}`
  }
  const mounts = await mountsOf(host, disks)
  return mounts.length > 0 ? `its disks hold ${mounts.join(', ')}` : undefined
}

const UPPER = 'upper_'
const isUpper = (name: string) => name.startsWith(UPPER)

/** Those of a class whose devices are part of this one. */
async function below(host: Host, folder: string, device: string): Promise<string[]> {
  const names = await host.listDir(folder)
  if (names.length === 0) return []
  const links = names.map((name) => `${folder}/${name}`)
  const { stdout } = await host.run('readlink', ['--canonicalize-missing', '--', ...links])
  const paths = stdout.split('\n')
  return names.filter((_, i) => paths[i]?.startsWith(`${device}/`))
}

/** Of an interface that is up; addresses of the link alone (fe80::…) come by themselves. */
async function addressesOf(host: Host, net: string): Promise<string[]> {
  const { exitCode, stdout } = await host.run('ip', ['-json', 'address', 'show', 'dev', net])
  if (exitCode !== 0) return []
  const [link] = JSON.parse(stdout) as { flags: string[]; addr_info: Address[] }[]
  if (!link?.flags.includes('UP')) return []
  return link.addr_info.filter(({ scope }) => scope !== 'link').map(({ local }) => local)
}

interface Address {
  local: string
  scope: string
}

/** Where the disks and their partitions are mounted; `[SWAP]` for swap. */
async function mountsOf(host: Host, disks: readonly string[]): Promise<string[]> {
  if (disks.length === 0) return []
  const files = disks.map((disk) => `/dev/${disk.replaceAll('!', '/')}`)
  const options = ['--noheadings', '--raw', '--output', 'MOUNTPOINT']
  const { stdout } = await host.run('lsblk', [...options, ...files])
  return [...new Set(stdout.split('\n').filter((line) => line.trim() !== ''))]
}
