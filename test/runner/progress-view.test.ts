import { describe, expect, test } from 'vitest'
import type { Progress } from '../../src/fleet/progress.ts'
import { ProgressView } from '../../src/runner/progress-view.ts'

/** What a person sees at the end, once the terminal has obeyed the two sequences that are used. */
function seen(written: string): string {
  const lines = ['']
  for (const part of written.split(/(\x1b\[\d*[AJ]|\n)/)) {
    const up = /^\x1b\[(\d+)A$/.exec(part)
    if (up) lines.splice(lines.length - 1 - Number(up[1]), Number.POSITIVE_INFINITY, '')
    else if (part === '\n') lines.push('')
    else if (!part.startsWith('\x1b')) lines[lines.length - 1] += part
  }
  return lines.join('\n')
}

function view({ isTTY = true, columns = 80 } = {}) {
  const written: string[] = []
  const shown = new ProgressView({ write: (text) => written.push(text), isTTY, columns })
  return {
    show: (progress: Progress, suite = 'a.spec.ts') => shown.show(suite, progress),
    clear: () => shown.clear(),
    raw: () => written.join(''),
    screen: () => seen(written.join('')),
  }
}
const vm = (vm: string, stage: string, elapsedMs = 1500, of = 2, dut = 'dut0'): Progress => ({
  ...{ kind: 'vm', dut, vm, stage, elapsedMs, of },
})
const note = (line: string, once?: boolean): Progress => ({ kind: 'note', dut: 'dut0', line, once })

describe('on a terminal', () => {
  test('a suite that starts is one line, which is replaced', () => {
    const { show, screen } = view()
    show(vm('vm0', 'qemu', 100))
    show(vm('vm1', 'qemu', 120))
    show(vm('vm0', 'kernel'))
    expect(screen()).toBe('a.spec.ts  dut0  0/2 ready  vm0: kernel 1.5 s  vm1: qemu 120 ms\n')
    show(vm('vm0', 'ready'))
    expect(screen()).toBe('a.spec.ts  dut0  1/2 ready  vm1: qemu 120 ms\n')
  })

  test('nothing is left of it once all are ready, or one has failed', () => {
    for (const stage of ['ready', 'failed']) {
      const { show, screen } = view()
      show(vm('vm0', 'ready'))
      show(vm('vm1', stage))
      expect(screen()).toBe('')
    }
  })

  test('suites and DUTs have a line each', () => {
    const { show, screen } = view()
    show(vm('vm0', 'qemu'))
    show(vm('vm0', 'qemu', 1500, 2, 'rack7'))
    show(vm('vm0', 'qemu'), 'b.spec.ts')
    expect(
      screen()
        .split('\n')
        .map((line) => line.split('  ', 2).join(' ')),
    ).toEqual([...['a.spec.ts dut0', 'a.spec.ts rack7', 'b.spec.ts dut0', '']])
  })

  test('a note stands in the line until a VM has more to say', () => {
    const { show, screen } = view()
    show(note('building the guest: packages'))
    show(note('building the guest: disk'))
    expect(screen()).toBe('a.spec.ts  dut0  building the guest: disk\n')
    show(vm('vm0', 'qemu'))
    expect(screen()).toBe('a.spec.ts  dut0  0/2 ready  vm0: qemu 1.5 s\n')
  })

  test('what is said once stays above, and is not said again', () => {
    const { show, screen } = view()
    show(vm('vm0', 'qemu'))
    show(note('KVM does not work here: TCG', true))
    show(note('KVM does not work here: TCG', true), 'b.spec.ts')
    expect(screen()).toBe(
      'dut0  KVM does not work here: TCG\na.spec.ts  dut0  0/2 ready  vm0: qemu 1.5 s\n',
    )
  })

  test('no line is longer than the terminal is wide', () => {
    const { show, screen } = view({ columns: 40 })
    for (let i = 0; i < 8; i++) show(vm(`vm${i}`, 'kernel', 1500, 8))
    const [line = ''] = screen().split('\n')
    expect(line.length).toBe(39)
  })

  test('the lines go away so that somebody else can print', () => {
    const { show, clear, screen, raw } = view()
    show(vm('vm0', 'qemu'))
    clear()
    expect(screen()).toBe('')
    const { length } = raw()
    clear()
    expect(raw().length).toBe(length)
  })
})

describe('in a log', () => {
  test('there is a line for each VM that is ready or has failed, without escapes', () => {
    const { show, raw } = view({ isTTY: false })
    show(vm('vm0', 'qemu'))
    show(vm('vm0', 'kernel'))
    show(vm('vm1', 'ready', 800))
    show(vm('vm0', 'ready', 2345))
    expect(raw()).toBe(
      'a.spec.ts  dut0  1/2 ready  vm1: ready 800 ms\na.spec.ts  dut0  2/2 ready  vm0: ready 2.3 s\n',
    )
  })

  test('a failure is told with the count so far', () => {
    const { show, raw } = view({ isTTY: false })
    show(vm('vm0', 'failed'))
    expect(raw()).toBe('a.spec.ts  dut0  0/2 ready  vm0: failed 1.5 s\n')
  })

  test('each note is a line, once, whatever it has counted to', () => {
    const { show, raw } = view({ isTTY: false })
    for (const line of ['unpacking 1/180', 'unpacking 43/180', 'two', 'two 1.5']) show(note(line))
    show(note('two'), 'b.spec.ts')
    expect(raw()).toBe(
      [
        'a.spec.ts  dut0  unpacking 1/180',
        'a.spec.ts  dut0  two',
        'a.spec.ts  dut0  two 1.5',
        'b.spec.ts  dut0  two',
        '',
      ].join('\n'),
    )
  })

  test('a suite that starts its VMs again counts from the beginning', () => {
    const { show, raw } = view({ isTTY: false })
    for (let i = 0; i < 2; i++) show(vm('vm0', 'ready', 900, 1))
    expect(raw()).toBe('a.spec.ts  dut0  1/1 ready  vm0: ready 900 ms\n'.repeat(2))
  })
})
