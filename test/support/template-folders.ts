import { mkdir, utimes, writeFile } from 'node:fs/promises'
import { localHost } from '../../src/host/local.ts'
import { sealTemplate, type TemplateLabel } from '../../src/vm/template/files.ts'

export const LABEL: TemplateLabel = {
  ...{ qemu: 'qemu-system-x86_64', machine: 'q35', accel: 'tcg' },
  ...{ cpus: 1, memory: '512M', devices: ['link', 'vhost-user'] },
}

export const keyOf = (n: number) => n.toString(16).padStart(16, '0')

interface PutOptions {
  /** How large its memory is. */
  megabytes?: number
  secondsAgo?: number
  label?: Partial<TemplateLabel>
}

/** A template of that number, as it lies there when it was used last some time ago; its folder. */
export async function putTemplate(
  store: string,
  n: number,
  { megabytes = 1, secondsAgo = 0, label }: PutOptions = {},
): Promise<string> {
  const folder = await putFolder(store, keyOf(n))
  await writeFile(`${folder}/memory`, Buffer.alloc(megabytes << 20, 1))
  await writeFile(`${folder}/state`, `state of ${n}`)
  const kernelLog = 'Linux version 6\n'
  await sealTemplate(localHost(), folder, {
    label: { ...LABEL, ...label },
    kernelLog,
  })
  await age(`${folder}/facts`, secondsAgo)
  return folder
}

/** What somebody began to make, some time ago; its folder. */
export async function putDraft(store: string, n: number, { secondsAgo = 0 } = {}) {
  const folder = await putFolder(store, `${keyOf(n)}.draft`)
  await writeFile(`${folder}/memory`, Buffer.alloc(1 << 20, 1))
  await age(folder, secondsAgo)
  return folder
}

async function putFolder(store: string, name: string): Promise<string> {
  await mkdir(store, { recursive: true, mode: 0o700 })
  await mkdir(`${store}/${name}`)
  return `${store}/${name}`
}

async function age(path: string, seconds: number): Promise<void> {
  const then = Date.now() / 1000 - seconds
  await utimes(path, then, then)
}
