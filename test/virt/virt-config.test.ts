import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { UsageError } from '../../src/errors.ts'
import { parseVirtConfig, readVirtConfig, suiteConfig } from '../../src/virt/virt-config.ts'

const SAMPLES = join(import.meta.dirname, '../../fixtures/dts')
const [VHOST, GLOBAL] = [join(SAMPLES, 'vhost.cfg'), join(SAMPLES, 'virt_global.cfg')]

test('sections, keys, elements and options', () => {
  const config = parseVirtConfig(
    `# a comment
[vm0]
cpu =
    model=host,number=2,cpupin=24 25;
disk =
    file=/a;
    file=/b,opt_format=raw
mem = size=4096 , hugepage = yes;
; another
[vm1]
name:name=x
`,
    'a.cfg',
  )
  expect([...config].map(([name, read]) => [name, read()])).toEqual([
    [
      'vm0',
      {
        cpu: [{ model: 'host', number: '2', cpupin: '24 25' }],
        disk: [{ file: '/a' }, { file: '/b', opt_format: 'raw' }],
        mem: [{ size: '4096', hugepage: 'yes' }],
      },
    ],
    ['vm1', { name: [{ name: 'x' }] }],
  ])
})

test('a value with commas and semicolons goes between quotes', () => {
  const text =
    '[v]\nusercmd =\n  cmd="-drive a=b,c=d; -x";\ndevice = opt_settings="csum=on,gso=off",opt_queue=2\n'
  expect(parseVirtConfig(text, 'a').get('v')?.()).toEqual({
    usercmd: [{ cmd: '-drive a=b,c=d; -x' }],
    device: [{ opt_settings: 'csum=on,gso=off', opt_queue: '2' }],
  })
})

describe('an error names file and line:', () => {
  test.each([
    ['cpu = number=2\n', 'a.cfg:1: cpu is in no section'],
    ['[v]\n\nnonsense\n', 'a.cfg:3: "nonsense" is neither [section] nor key = value'],
    ['[v]\ncpu =\n  number=2,fast;\n', 'a.cfg:2: cpu: "fast" is not NAME=VALUE'],
    ['[v]\ncpu = number=2\ncpu = number=3\n', 'a.cfg:3: cpu is there twice'],
    ['[v]\n[w]\n[v]\n', 'a.cfg:3: section [v] is there twice'],
    ['[v]\ncpu = number=2,number=3\n', 'a.cfg:2: cpu: number is there twice'],
    ['[v]\nusercmd = cmd="-x\n', 'a.cfg:2: usercmd: a quote is not closed'],
  ])('%j', (text, message) => {
    const read = () => [...parseVirtConfig(text, 'a.cfg').values()].map((section) => section())
    expect(read).toThrow(UsageError)
    expect(read).toThrow(message)
  })
})

test('a section of another kind stands in nobody’s way', () => {
  const text = '[suite]\nupdate_expected = True\nframe_size = [64, 1518]\n[vm0]\ncpu = number=2\n'
  expect(parseVirtConfig(text, 'a').get('vm0')?.()).toEqual({ cpu: [{ number: '2' }] })
})

test('a VM’s own keys take the place of whole global ones', async () => {
  const vm1 = await readVirtConfig({ file: VHOST, vm: 'vm1', global: GLOBAL })
  expect(vm1.cpu).toEqual([{ model: 'host', number: '2' }])
  expect(vm1.mem).toEqual([{ size: '256', hugepage: 'no' }])
  const vm0 = await readVirtConfig({ file: VHOST, vm: 'vm0', global: GLOBAL })
  expect(vm0.cpu).toEqual([{ model: 'host', number: '1', cpupin: '0' }])
  expect(Object.keys(await readVirtConfig({ file: VHOST, vm: 'vm1' }))).toEqual(['mem', 'device'])
})

test('a section or a file that is not there is named, with what there is', async () => {
  await expect(readVirtConfig({ file: VHOST, vm: 'vm3' })).rejects.toThrow(/no section \[vm3\]/)
  await expect(readVirtConfig({ file: VHOST, vm: 'host' })).rejects.toThrow('it has: vm0, vm1')
  await expect(readVirtConfig({ file: '/none.cfg', vm: 'a' })).rejects.toThrow(
    '/none.cfg cannot be read',
  )
})

test('a suite’s file is where DTS has it', async () => {
  vi.stubEnv('DTS_CFG_FOLDER', undefined)
  expect(suiteConfig('pvp')).toEqual({ file: 'conf/pvp.cfg', global: 'conf/virt_global.cfg' })
  const folder = await mkdtemp(join(tmpdir(), 'conf-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  vi.stubEnv('DTS_CFG_FOLDER', folder)
  onTestFinished(() => void vi.unstubAllEnvs())
  await writeFile(join(folder, 'pvp.cfg'), '[vm0]\nmem = size=256,hugepage=no\n')
  await writeFile(join(folder, 'virt_global.cfg'), '[KVM]\ncpu = number=1\n[XEN]\ncpu = number=9\n')
  expect(await readVirtConfig({ ...suiteConfig('pvp'), vm: 'vm0' })).toEqual({
    cpu: [{ number: '1' }],
    mem: [{ size: '256', hugepage: 'no' }],
  })
})
