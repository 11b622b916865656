import { UsageError } from '../errors.ts'
import { socketArgs } from '../qemu/option-value.ts'
import type { Draft } from './draft.ts'
import { shellWords } from './shell-words.ts'
import type { Options } from './values.ts'

/** What one element of a key's list means. */
export interface Key {
  options: readonly string[]
  /** Sub-options that DTS had as well, and what to do without them. */
  instead?: Readonly<Record<string, string>>
  read(options: Options, draft: Draft): void
}

/** What a key without a `number` means in DTS. */
const CPUS = 4
const MEGABYTES = 2048

const PLACE = `leave it out: cpus: { pin: 'auto' } gives cores, memory: { node } says of which node memory is`

/** How a PCI device of the host gets into a VM. */
export const PASS_ON = 'device with driver=vfio-pci,opt_host=ADDRESS, which is vfio(address)'

/** The note on a key whose QEMU arguments are taken as they are. */
export function asTheyAre(key: string): string {
  return `${key}: QEMU is given its arguments as they are, so the VM is booted, not cloned`
}

const NO_PATH = 'sockets are in a folder of the run, and the kernel removes what a VM leaves'

/** The keys that are about the machine itself. */
export const MACHINE_KEYS: Record<string, Key> = {
  name: {
    options: ['name'],
    read: (options, { spec }) => {
      spec.name = options.need('name')
    },
  },
  qemu: {
    options: ['path'],
    read: (options, { spec, notes }) => {
      const path = options.need('path')
      if (spec.qemu !== undefined)
        notes.push(`qemu: path=${spec.qemu} is passed over: the last counts`)
      spec.qemu = path
    },
  },
  machine: {
    options: ['machine', 'opt_gic_version'],
    read: (options, { spec }) => {
      const gic = options.get('opt_gic_version')
      spec.machine = options.need('machine') + (gic === undefined ? '' : `,gic-version=${gic}`)
    },
  },
  enable_kvm: {
    options: ['enable'],
    read: (options, { spec }) => {
      spec.accel = (options.flag('enable') ?? true) ? 'kvm' : 'tcg'
    },
  },
  cpu: {
    options: ['model', 'number', 'cpupin'],
    instead: {
      numa: PLACE,
      numa_aware: PLACE,
      skipcores: `leave it out: cpus: { pin: 'auto' } gives cores that nobody else has`,
    },
    read: (options, { spec, notes }) => {
      const model = options.get('model')
      const count = options.number('number', 1) ?? CPUS
      const named = (options.get('cpupin') ?? '').split(/[\s,]+/).filter((core) => core !== '')
      if (named.some((core) => !/^\d+$/.test(core))) {
        throw new UsageError(`${options.what}: cpupin is not a list of cores`, {
          hint: `cpupin=24 25`,
        })
      }
      // QEMU's `host` needs KVM; what stands for it by default is right under TCG, too.
      if (model === 'host') notes.push('cpu: model=host is what a VM has by default under KVM')
      const pin = [...new Set(named.map(Number))]
      const isShort = pin.length > 0 && pin.length < count
      if (isShort) {
        notes.push(
          `cpu: cpupin is left out: DTS had ${count} virtual CPUs share ${pin.length} cores (${pin.join(' ')}), ` +
            `here each has one of its own: write ${count} cores, or number=${pin.length}`,
        )
      } else if (pin.length > count) {
        const over = pin.slice(count).join(' ')
        notes.push(`cpu: cpupin: ${over} is passed over: there are ${count} virtual CPUs`)
      }
      spec.cpus = {
        count,
        ...(model !== undefined && model !== 'host' && { model }),
        ...(pin.length > 0 && !isShort && { pin: pin.slice(0, count) }),
      }
    },
  },
  mem: {
    options: ['size', 'hugepage'],
    read: (options, { spec }) => {
      const size = options.number('size', 1) ?? MEGABYTES
      const hugepages = options.flag('hugepage')
      spec.memory = { size: `${size}M`, ...(hugepages !== undefined && { hugepages }) }
    },
  },
  start: {
    options: ['wait_seconds', 'login_timeout', 'login_prompt', 'password_prompt'],
    read: (options, draft) => {
      const seconds = options.number('wait_seconds', 1)
      if (seconds !== undefined) draft.startTimeoutMs = seconds * 1000
      if (options.get('login_timeout') !== undefined) {
        draft.notes.push('start: login_timeout is part of wait_seconds, the bootTimeout')
      }
      const prompts = { loginPrompt: 'login_prompt', passwordPrompt: 'password_prompt' } as const
      for (const [key, name] of Object.entries(prompts)) {
        const prompt = options.get(name)
        // DTS's own, which are looked for anyway, and not in the middle of other text.
        if (prompt === undefined || prompt === 'login:' || prompt === 'Password:') continue
        draft.login[key as keyof typeof prompts] = prompt
      }
    },
  },
  login: {
    options: ['user', 'password'],
    read: (options, { login }) => {
      login.user = options.get('user') ?? 'root'
      login.password = options.get('password') ?? ''
    },
  },
  pid_file: {
    options: ['name'],
    read: (options) => options.refuse('name', `vm.pid is its process id; ${NO_PATH}`),
  },
  daemon: {
    options: ['enable'],
    read: (_, { notes }) => {
      notes.push('daemon: a VM is its worker’s child, and ends with it; nothing goes on by itself')
    },
  },
  monitor: {
    options: ['path', 'port'],
    read: (options, { spec, notes }) => {
      if (options.get('port')) notes.push('monitor: port is passed over, as in DTS: vm.qmp')
      const path = options.get('path')
      if (path === undefined) notes.push('monitor: vm.qmp and vm.events speak to QEMU')
      else {
        const chardev = socketArgs('monitor', path, { server: true })
        spec.extraArgs.push(...chardev, '-mon', 'chardev=monitor,mode=readline')
        notes.push(asTheyAre('monitor'))
      }
    },
  },
  vnc: {
    options: ['disable', 'displayNum'],
    read: (options, { spec, notes }) => {
      const display = options.number('displayNum')
      if (options.flag('disable') === true) return
      if (display === undefined) {
        notes.push('vnc: a VM has a display where displayNum says which, else none')
        return
      }
      // Not on all addresses as in DTS, for it asks for no password.
      spec.extraArgs.push('-vga', 'std', '-vnc', `127.0.0.1:${display}`)
      notes.push(asTheyAre('vnc'))
    },
  },
  control: {
    options: ['type', 'port'],
    read: (options, { agent, notes }) => {
      options.refuse('port', 'the guest is reached by vm.cmd and vm.exec; no port is opened for it')
      const type = options.get('type') ?? 'telnet'
      if (!['qga', 'telnet', 'socket'].includes(type)) {
        throw new UsageError(`${options.what}: type: ${JSON.stringify(type)} is unknown`, {
          hint: 'qga, telnet or socket; or leave control out',
        })
      }
      if (type === 'qga') agent.push('control: type=qga')
      else notes.push(`control: type=${type}: vm.cmd and vm.exec do what it was for`)
    },
  },
  qga: {
    options: ['enable'],
    read: (options, { agent }) => {
      if (options.flag('enable') === true) agent.push('qga') // off where it does not say, as in DTS
    },
  },
  usercmd: {
    options: ['cmd'],
    read: (options, { spec, notes }) => {
      spec.extraArgs.push(...shellWords(options.what, options.need('cmd')))
      notes.push(asTheyAre('usercmd'))
    },
  },
  def_driver: {
    options: ['driver_name', 'driver_mode'],
    read: (options, { notes }) => {
      const [driver, mode] = [options.get('driver_name'), options.get('driver_mode')]
      if (driver !== undefined || mode === undefined) {
        const name = driver ?? 'vfio-pci'
        notes.push(`def_driver: bindDriver(vm, pci, '${name}') of vitest-dut/dpdk binds NICs`)
      }
      if (mode !== undefined) {
        notes.push(
          `def_driver: driver_mode=${mode} is passed over: bindDriver sets no mode; ` +
            `bindDriver(vm, pci, 'uio_pci_generic') needs no IOMMU`,
        )
      }
    },
  },
  virt_type: {
    options: ['virt_type'],
    read: (options) => {
      const type = options.get('virt_type') ?? 'KVM'
      if (type.toUpperCase() === 'KVM') return
      throw new UsageError(`${options.what}: ${JSON.stringify(type)} is not supported`, {
        hint: 'QEMU is started as it is: write KVM, or leave virt_type out',
      })
    },
  },
  serial_port: {
    options: ['enable', 'path', 'port'],
    read: (_, { notes }) => {
      notes.push(
        'serial_port: vm.console has what the guest prints there, and vm.cmd types into it',
      )
    },
  },
  dev_gen: {
    options: ['pf_idx', 'vf_num', 'driver'],
    read: (options) => {
      throw new UsageError(
        `${options.what} is not honoured: VFs are made by whoever runs the host`,
        {
          hint: `write their number into sriov_numvfs, and pass each on: ${PASS_ON}`,
        },
      )
    },
  },
  migration: {
    options: ['enable', 'port'],
    read: (options) => {
      if (options.flag('enable') === false) return
      throw new UsageError(
        `${options.what}: a VM that waits for a migration is not started by itself`,
        {
          hint: 'leave it out: the action migration, which is vm.migrate(), starts its target itself',
        },
      )
    },
  },
}
