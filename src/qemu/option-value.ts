import type { Property } from './devices.ts'

/** In QEMU's option lists a comma separates; a doubled one stands for itself. */
export function optionValue(value: string): string {
  return value.replaceAll(',', ',,')
}

/** The value of QEMU's `-device`. */
export function deviceOption(driver: string, properties: Record<string, Property>): string {
  const parts = Object.entries(properties).map(([key, value]) => `${key}=${propertyValue(value)}`)
  return [driver, ...parts].join(',')
}

function propertyValue(value: Property): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off'
  return optionValue(String(value))
}

/** A unix socket that QEMU connects to; with `server`, one that it makes, and does not wait at. */
export function socketArgs(id: string, path: string, { server = false } = {}): string[] {
  const mode = server ? ',server=on,wait=off' : ''
  return ['-chardev', `socket,id=${id},path=${optionValue(path)}${mode}`]
}
