import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { resolveSpec } from '../../src/vm/spec/spec.ts'
import { cli } from '../support/cli.ts'

const SAMPLE = join(import.meta.dirname, '../../fixtures/dts/vhost.cfg')
const dir = mkdtempSync(join(tmpdir(), 'convert-'))
afterAll(() => rmSync(dir, { recursive: true }))

test('prints a spec file that has the VMs', async () => {
  const { stdout, exitCode } = await cli(['convert', SAMPLE], { env: {} })
  expect(exitCode).toBe(0)
  expect(stdout).toContain(`import { dutTest, userNet, vhostUser, type VmSpec } from 'vitest-dut'`)
  expect(stdout).toContain(`name: 'vm1'`)
  expect(stdout).toContain(`bootTimeout: '120s'`)
  expect(stdout).toContain('  // def_driver: bindDriver(vm,')

  // It is what it says: read in, it gives specs that can be.
  const file = join(dir, 'converted.ts')
  const source = stdout.replace(/^import.*$/m, (line) =>
    line.replace('vitest-dut', join(import.meta.dirname, '../../src/qemu/devices.ts')),
  )
  writeFileSync(
    file,
    `${source
      .replace('dutTest, ', '')
      .replace(', type VmSpec', '')
      .replace(': VmSpec[]', '')
      .replace(/const test = [\s\S]*/, '')}export { specs }\n`,
  )
  const { specs } = await import(/* @vite-ignore */ file)
  const [vm0, vm1] = specs.map((spec: object, i: number) => resolveSpec(spec, i))
  expect(vm0.cpus).toEqual({ count: 1, pin: [0] })
  expect(vm0.devices.map(({ kind }: { kind: string }) => kind)).toEqual(['user-net', 'vhost-user'])
  expect(vm1.devices[0]).toMatchObject({ server: true, properties: { 'disable-modern': false } })
})

test('prints one VM as JSON, without the global file', async () => {
  writeFileSync(join(dir, 'a.cfg'), '[vm0]\nmem = size=256,hugepage=no\n[vm1]\nmem = size=1\n')
  const { stdout, exitCode } = await cli(['convert', join(dir, 'a.cfg'), '--vm', 'vm0', '--json'], {
    env: {},
  })
  expect(exitCode).toBe(0)
  expect(JSON.parse(stdout)).toEqual({
    version: 1,
    vms: [{ name: 'vm0', spec: { memory: { size: '256M', hugepages: false } }, notes: [] }],
  })
})

test('sections that cannot be read or run leave the others printed, and the status says so', async () => {
  const text = '[vm0]\nmem = size=256\n[vm1]\n}\n[vm2]\nmem = size=x\n[vm3]\nmem = size=512\n'
  writeFileSync(join(dir, 'some.cfg'), text)
  const { stdout, stderr, exitCode } = await cli(['convert', join(dir, 'some.cfg')], { env: {} })
  expect(exitCode).toBe(1)
  expect(stdout).toContain(`name: 'vm0'`)
  expect(stdout).toContain(`name: 'vm3'`)
  expect(stderr).toMatch(/some\.cfg:4: "}" is neither[\s\S]*\[vm2\]: mem\[0\]: size: "x"/)
})

test('a file without a VM is refused in words, and nothing is printed', async () => {
  writeFileSync(join(dir, 'crbs.cfg'), '[DUT IP]\ndut_ip=localhost\nos=linux\n')
  for (const more of [[], ['--json']]) {
    const args = ['convert', join(dir, 'crbs.cfg'), ...more]
    const { stdout, stderr, exitCode } = await cli(args, { env: {} })
    expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 1 })
    expect(stderr).toContain('describes no VM: its sections are [DUT IP]')
  }
})

test('what cannot be is refused with file, section and what to do', async () => {
  writeFileSync(join(dir, 'b.cfg'), '[vm0]\ndevice = driver=pci-assign,opt_host=03:00.0\n')
  const refused = await cli(['convert', join(dir, 'b.cfg')], { env: {} })
  expect(refused.exitCode).toBe(1)
  writeFileSync(join(dir, 'c.cfg'), '[vm0]\nmem = size=256\n[vm1]\ndevice = driver=vhost-cuse\n')
  const half = await cli(['convert', join(dir, 'c.cfg')], { env: {} })
  expect(half.exitCode).toBe(1)
  expect(half.stdout).toContain("name: 'vm0'")
  expect(half.stderr).toContain('c.cfg: [vm1]: device[0]: vhost-cuse is gone')
  expect(refused.stderr).toContain('b.cfg: [vm0]: device[0]: pci-assign is gone from QEMU')
  expect(refused.stderr).toContain('vfio-pci')
  const none = await cli(['convert', join(dir, 'none.cfg')], { env: {} })
  expect(none.exitCode).toBe(1)
  expect(none.stderr).toContain('none.cfg cannot be read')
  expect((await cli(['convert'], { env: {} })).exitCode).toBe(2)
})
