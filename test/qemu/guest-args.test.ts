import { describe, expect, test } from 'vitest'
import { qemuArgs } from '../../src/qemu/args.ts'
import { shapeWith, valuesOf } from '../support/shape.ts'

const disk = {
  ...{ file: '/i/a,b.qcow2', format: 'qcow2', bus: 'virtio' as const },
  ...{ readonly: false, snapshot: true },
}
const agent = '/g/agent'

describe('a guest of the user’s own', () => {
  test('has one serial line, which is its terminal, and no other console', () => {
    const boot = { disk, agent }
    expect(valuesOf('-serial', { boot })).toEqual(['chardev:console'])
    expect(valuesOf('-chardev', { boot }).join('\n')).not.toContain('klog')
    expect(valuesOf('-device', { boot }).join('\n')).not.toContain('virtconsole')
    expect(valuesOf('-device', { boot })).toContain(
      'virtserialport,id=agent,chardev=agent,name=vitest-dut.agent',
    )
  })

  test('has the port of the QEMU guest agent where there is a socket for it', () => {
    const boot = { disk, agent }
    const { sockets } = shapeWith()
    const given = { boot, sockets: { ...sockets, guestAgent: '/s,1/qga' } }
    expect(valuesOf('-chardev', given).at(-1)).toBe('socket,id=qga,path=/s,,1/qga')
    expect(valuesOf('-device', given)).toContain(
      'virtserialport,id=qga,chardev=qga,name=org.qemu.guest_agent.0',
    )
    expect(qemuArgs(shapeWith({ boot })).join()).not.toContain('qga')
  })

  test('boots its disk, which is not written to', () => {
    const boot = { disk, agent }
    expect(valuesOf('-drive', { boot })[0]).toBe(
      'if=none,id=root,file=/i/a,,b.qcow2,format=qcow2,snapshot=on',
    )
    expect(valuesOf('-device', { boot })).toContain(
      'virtio-blk-pci,drive=root,serial=root,bootindex=1',
    )
    expect(qemuArgs(shapeWith({ boot }))).not.toContain('-kernel')
  })

  test('finds the agent on a disk that it cannot write to', () => {
    expect(valuesOf('-drive', { boot: { disk, agent } })).toContain(
      'if=none,id=agentdisk,format=raw,readonly=on,file=/g/agent',
    )
    expect(valuesOf('-device', { boot: { disk, agent } })).toContain(
      'virtio-blk-pci,drive=agentdisk,serial=vitest-dut-agent',
    )
  })

  test('or a kernel, with what there is of initramfs and command line', () => {
    const boot = { kernel: '/k', append: 'console=ttyS0 root=/dev/vda', agent }
    expect(valuesOf('-kernel', { boot })).toEqual(['/k'])
    expect(valuesOf('-append', { boot })).toEqual(['console=ttyS0 root=/dev/vda'])
    expect(qemuArgs(shapeWith({ boot }))).not.toContain('-initrd')
    expect(valuesOf('-drive', { boot })).toHaveLength(1)
  })

  test('has its own disk before further ones', () => {
    const further = { ...disk, file: '/i/data' }
    const drives = valuesOf('-drive', { boot: { disk, agent }, disks: [further] })
    expect(drives.map((option) => /id=(\w+)/.exec(option)?.[1])).toEqual([
      ...['root', 'agentdisk', 'disk0'],
    ])
  })
})

test('the built-in guest has a console beside its serial line', () => {
  expect(valuesOf('-serial')).toEqual(['chardev:klog'])
  expect(valuesOf('-device')).toContain('virtconsole,chardev=console')
  expect(valuesOf('-device')).toContain('virtio-blk-pci,drive=root,serial=vitest-dut-root')
})
