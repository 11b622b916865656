import { mkdir, mkdtemp, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import type { Host } from '../../src/host/host.ts'
import { poll } from '../../src/wait.ts'

/*
 * What the kernel does when an address is written to a driver's `bind` or `unbind` (named pipes here):
 * see `bind_store` and `unbind_store` in drivers/base/bus.c, and `pci_match_device`. It notes what was
 * written, and the device's override at that moment.
 */
const KERNEL = `
cd "$1"
serve() {
  driver=$1 action=$2
  while read -r address <&5; do
    device=bus/pci/devices/$address override=
    read -r override <$device/driver_override
    echo "$action $driver, override $override" >>log
    if [ $action = unbind ]; then
      [ "$(readlink $device/driver)" = "$PWD/bus/pci/drivers/$driver" ] && rm $device/driver
    elif [ ! -e $device/driver ]; then
      [ "$override" = $driver ] || { [ -z "$override" ] && grep -qx $driver $device/known-to; } &&
        ln -s "$PWD/bus/pci/drivers/$driver" $device/driver
    fi
  done
}
for driver in bus/pci/drivers/*; do
  mkfifo $driver/bind $driver/unbind
  for action in bind unbind; do
    exec 5<>"$driver/$action"
    serve "\${driver##*/}" $action &
  done
done
touch up
wait
`

export interface FakeDevice {
  driver?: string
  override?: string
  /** The driver knows its id: it takes it without being named. */
  known?: boolean
  group?: number
}

/** A folder that behaves like sysfs as far as a plain folder can. Call `end` when done. */
export async function fakeSysfs(
  host: Host,
  { drivers, devices }: { drivers: string[]; devices: Record<string, FakeDevice> },
) {
  const path = await mkdtemp(join(tmpdir(), 'dut-sysfs-'))
  const driverPath = (driver: string) => join(path, 'bus/pci/drivers', driver)
  const devicePath = (address: string) => join(path, 'bus/pci/devices', address)
  for (const driver of drivers) await mkdir(driverPath(driver), { recursive: true })
  await mkdir(join(path, 'bus/pci/devices'), { recursive: true })
  for (const [address, device] of Object.entries(devices)) {
    const { driver, override = '(null)', known = true, group } = device
    const real = join(path, 'devices/pci0000:00', address)
    await mkdir(real, { recursive: true })
    await symlink(real, devicePath(address))
    await writeFile(join(real, 'driver_override'), `${override}\n`)
    await writeFile(join(real, 'known-to'), known ? `${driver}\n` : '')
    if (driver !== undefined) await symlink(driverPath(driver), join(real, 'driver'))
    if (group === undefined) continue
    const members = join(path, 'kernel/iommu_groups', String(group), 'devices')
    await mkdir(members, { recursive: true })
    await symlink(real, join(members, address))
    await symlink(join(members, '..'), join(real, 'iommu_group'))
  }
  const stop = new AbortController()
  const kernel = host.run('bash', ['-c', KERNEL, 'bash', path], { signal: stop.signal })
  const ended = kernel.catch(() => {})
  await poll(() => readFile(join(path, 'up')).catch(() => undefined), { timeoutMs: 30_000 })
  return {
    path,
    driverPath,
    devicePath,
    /** What was written to drivers, in order. */
    log: async () => {
      const text = await readFile(join(path, 'log'), 'utf8').catch(() => '')
      return text.split('\n').slice(0, -1)
    },
    /** The driver that has it, and what its override names. */
    state: async (address: string) => {
      const driver = await readlink(join(devicePath(address), 'driver')).catch(() => undefined)
      const override = await readFile(join(devicePath(address), 'driver_override'), 'utf8')
      return [driver && basename(driver), override.trim().replace('(null)', '')]
    },
    end: async () => {
      stop.abort()
      await ended
      await rm(path, { recursive: true })
    },
  }
}

export type FakeSysfs = Awaited<ReturnType<typeof fakeSysfs>>
