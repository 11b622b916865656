import { type IPty, spawn } from '@lydell/node-pty'
import type { Guest } from '../src/image/guest.ts'
import { poll } from '../src/wait.ts'

/**
 * The floor: QEMU on a terminal and as little as possible between it and us. No QMP, no agent, no
 * protocol; a line is typed and a fixed text is waited for.
 */
export interface RawVm {
  /** Types a line; resolves when `until` has been printed. */
  line(text: string, until: string): Promise<void>
  end(): Promise<void>
}

/** The same machine that the product starts by default, without its sockets. */
export function rawArgs({ kernel, initrd, root, append }: Guest, accel: string): string[] {
  return [
    ...[
      '-machine',
      'q35,memory-backend=ram',
      '-accel',
      accel,
      '-cpu',
      cpu(accel),
      '-smp',
      'cpus=1',
    ],
    ...['-m', '512M', '-object', 'memory-backend-ram,id=ram,size=536870912'],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-kernel', kernel, '-initrd', initrd, '-append', append],
    ...['-chardev', 'null,id=klog', '-serial', 'chardev:klog'],
    ...['-chardev', 'stdio,id=console,signal=off', '-device', 'virtio-serial-pci'],
    ...['-device', 'virtconsole,chardev=console'],
    ...['-chardev', 'null,id=agent'],
    ...['-device', 'virtserialport,chardev=agent,name=vitest-dut.agent'],
    ...['-drive', `if=none,id=root,format=raw,readonly=on,file=${root}`],
    ...['-device', 'virtio-blk-pci,drive=root,serial=vitest-dut-root'],
  ]
}

/** Ended with us, like everything else here, but by nothing that costs more than an exec. */
function bareCommand(guest: Guest, accel: string): string[] {
  return ['--pdeathsig', 'KILL', '--', 'qemu-system-x86_64', ...rawArgs(guest, accel)]
}

function cpu(accel: string): string {
  return accel.startsWith('tcg') ? 'max' : 'host'
}

/** Boots one and resolves when its shell has answered a line. */
export async function bootRaw(guest: Guest, accel: string): Promise<RawVm> {
  const pty: IPty = spawn('setpriv', bareCommand(guest, accel), { encoding: null })
  const exited = new Promise<void>((resolve) => pty.onExit(() => resolve()))
  let text = ''
  let wanted: { until: string; resolve: () => void } | undefined
  pty.onData((data) => {
    text += String(data).replaceAll('\r', '') // QEMU's own terminal settings add them
    if (wanted && text.includes(wanted.until)) {
      const { resolve } = wanted
      wanted = undefined
      resolve()
    }
  })
  const line = (typed: string, until: string) =>
    new Promise<void>((resolve) => {
      text = ''
      wanted = { until, resolve }
      pty.write(`${typed}\n`)
    })
  await poll(() => text.includes('dut-shell') || undefined, { timeoutMs: 120_000, everyMs: 5 })
  await line('echo "up"$((1))', 'up1')
  return {
    line,
    end: async () => {
      pty.kill('SIGKILL')
      await exited
    },
  }
}
