import { mkdtempSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { UsageError } from '../../src/errors.ts'
import { parseVirtConfig, readVirtConfig, suiteConfig, vmsIn } from '../../src/virt/virt-config.ts'

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

test.each([
  ['a byte order mark', '\uFEFF[v]\nmem = size=1\n'],
  ['CRLF', '[v]\r\nmem =\r\n  size=1;\r\n'],
  ['tabs', '[v]\nmem\t=\n\tsize=1;\n'],
  ['a comment behind a section', '[v] # the first\nmem = size=1\n'],
  ['a comment behind a key', '[v]\nmem = # in megabytes\n  size=1;\n'],
  ['a comment behind a value', '[v]\nmem =\n  size=1; # "all" of it, and more; x\n'],
  ['a comment right behind a separator', '[v]\nmem = size=1;# no more\n'],
  ['comments between', '[v]\n# a\nmem =\n  # b\n  size=1;\n ; c\n'],
])('the same is read with %s', (_, text) => {
  expect(parseVirtConfig(text, 'a').get('v')?.()).toEqual({ mem: [{ size: '1' }] })
})

test('a # within a word or within quotes is part of the value', () => {
  const text = '[v]\nlogin = user=a#b,password="x #y"\n'
  expect(parseVirtConfig(text, 'a').get('v')?.()).toEqual({
    login: [{ user: 'a#b', password: 'x #y' }],
  })
})

test('an error in one section leaves the others alone', () => {
  const config = parseVirtConfig('[s]\n}\n[a]\nmem = size=1\n[b]\nx = 1\nx = 2\n', 'a.cfg')
  expect(config.get('a')?.()).toEqual({ mem: [{ size: '1' }] })
  expect(() => config.get('s')?.()).toThrow('a.cfg:2: "}" is neither [section] nor key = value')
  expect(() => config.get('b')?.()).toThrow('a.cfg:7: x is there twice')
})

describe('the VMs of a file', () => {
  const dir = mkdtempSync(join(tmpdir(), 'vms-'))
  afterAll(() => rm(dir, { recursive: true }))
  const vms = async (text: string) => {
    await writeFile(join(dir, 'a.cfg'), text)
    return vmsIn(join(dir, 'a.cfg'))
  }
  const VM = '[vm0]\ncpu =\n    number=2;\n'

  test.each<[string, string, string[]]>([
    [
      'whatever their names',
      '[host]\nmem = size=1\n[backup]\ndisk = file=/x\n',
      ['host', 'backup'],
    ],
    ['where a section of a suite is beside them', `[suite]\na = 1\nb = {\n}\n${VM}`, ['vm0']],
    ['and not folders', `[mount_info]\nhost_share_dir=/home\n${VM}`, ['vm0']],
    ['and not a peer', `[peerconf]\npci=0000:06:00.0\npci_drv=ixgbe\n${VM}`, ['vm0']],
    ['and not settings of a program', `[test_mb]\nbuffer-sz="64,128"\nl="0,1"\n${VM}`, ['vm0']],
    ['and not settings that have a VM’s key', `[app]\nname = testpmd\nstart = 7\n${VM}`, ['vm0']],
    ['one that has all of the global file', `${VM}[vm1]\n`, ['vm0', 'vm1']],
    ['one of which no key is right', '[vm0]\nmemory = size=1\n', ['vm0']],
    ['and not the ports of one', `[vm0]\nports =\n  dev_idx=0;\n[vm1]\nmem = size=1\n`, ['vm1']],
  ])('are found %s', async (_, text, names) => {
    expect(await vms(text)).toEqual(names)
  })

  test.each([
    ['[suite]\nx = 1\n[KVM]\ncpu = number=4\n', '[suite], [KVM]'],
    ['[DUT IP]\ndut_ip=localhost\ndut_user=root\n', '[DUT IP]'],
    ['[DUT IP]\nports =\n  pci=0000:06:00.0,peer=00:00:00:00:00:01;\n', '[DUT IP]'],
    ['[TREX]\ntrex_root_path=/opt/trex\n', '[TREX]'],
    ['[meson]\ntest-pmd=app/dpdk-testpmd\n', '[meson]'],
    ['sp ipv4 out esp protect 5\n', 'none'],
    ['', 'none'],
  ])('are said to be none: %j', async (text, sections) => {
    const error = await vms(text).catch((reason) => reason)
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toContain(`a.cfg describes no VM: its sections are ${sections}`)
    expect(error.hint).toContain('cpu, mem, disk')
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
