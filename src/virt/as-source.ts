import type { Device } from '../qemu/devices.ts'
import type { ConvertedVm } from './virt-params.ts'

const FUNCTIONS = {
  'vhost-user': 'vhostUser',
  link: 'link',
  'user-net': 'userNet',
  tap: 'tap',
  'virtio-crypto': 'virtioCrypto',
  vfio: 'vfio',
  raw: 'raw',
} as const

/** A spec file that has those VMs, ready to be pasted; what is different from DTS is in comments. */
export function asSource(vms: readonly { name: string; converted: ConvertedVm }[]): string {
  const devices = vms.flatMap(({ converted }) => converted.spec.devices ?? [])
  const used = [...new Set(devices.map(({ kind }) => FUNCTIONS[kind]))].sort()
  const specs = vms.map(({ name, converted: { spec, notes } }) => {
    const comments = notes.map((note) => `  // ${note}\n`).join('')
    return `${comments}  ${object({ name, ...spec }, '  ')},\n`
  })
  const seconds = vms.map(({ converted }) => (converted.startTimeoutMs ?? 0) / 1000)
  const longest = Math.max(0, ...seconds)
  return [
    `import { ${['dutTest', ...used, 'type VmSpec'].join(', ')} } from 'vitest-dut'\n\n`,
    `const specs: VmSpec[] = [\n${specs.join('')}]\n\n`,
    'const test = dutTest({\n  vms: specs.length,\n  vm: ({ index }) => specs[index] ?? {},\n',
    ...(longest > 0 ? [`  bootTimeout: '${longest}s',\n`] : []),
    '})\n',
  ].join('')
}

/** A call of the function that makes the device. */
function call(device: Device): string {
  const name = FUNCTIONS[device.kind]
  if (device.kind === 'raw') return `${name}(${device.args.map(literal).join(', ')})`
  const { kind: _, ...rest } = device
  if (device.kind === 'vfio') {
    const more = device.properties ? `, ${object(device.properties, '')}` : ''
    return `${name}(${literal(device.address)}${more})`
  }
  if (device.kind === 'link') {
    const { name: segment, ...options } = rest as { name: string }
    const more = Object.keys(options).length > 0 ? `, ${object(options, '')}` : ''
    return `${name}(${literal(segment)}${more})`
  }
  const { forwards, ...options } = rest as { forwards?: { port: number; protocol: string }[] }
  const forward = forwards?.map(({ port, protocol }) =>
    protocol === 'tcp' ? port : { port, protocol },
  )
  const all = { ...options, ...(forward && { forward }) }
  return Object.keys(all).length > 0 ? `${name}(${object(all, '')})` : `${name}()`
}

function isDevice(value: object): value is Device {
  return 'kind' in value && String(value.kind) in FUNCTIONS
}

/** On one line where `indent` is empty, else a line for each key. */
function object(value: object, indent: string): string {
  const shown = Object.getOwnPropertyNames(value).map((key) => {
    const name = /^[A-Za-z_$][\w$]*$/.test(key) ? key : literal(key)
    return `${name}: ${literal((value as Record<string, unknown>)[key])}`
  })
  if (indent === '') return `{ ${shown.join(', ')} }`
  return `{\n${shown.map((line) => `${indent}  ${line},\n`).join('')}${indent}}`
}

function literal(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(literal).join(', ')}]`
  if (value instanceof RegExp) return String(value)
  if (typeof value === 'object' && value !== null) {
    return isDevice(value) ? call(value) : object(value, '')
  }
  if (typeof value !== 'string') return String(value)
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('\n', '\\n')}'`
}
