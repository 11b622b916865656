import { mkdir, rename, writeFile } from 'node:fs/promises'
import { localHost } from '../../src/host/local.ts'
import { sealTemplate, type TemplateLabel } from '../../src/vm/template/files.ts'

export const label: TemplateLabel = {
  ...{ qemu: 'qemu-system-x86_64', machine: 'q35', accel: 'tcg' },
  ...{ cpus: 1, memory: '512M', devices: ['link'] },
}

/** A whole template, as its maker leaves it: nobody finds half of it. */
export async function putTemplate(
  folder: string,
  files: { memory?: Buffer; disk?: Buffer; state?: string } = {},
): Promise<void> {
  const draft = `${folder}.draft`
  await mkdir(draft, { mode: 0o700 })
  for (const [name, content] of Object.entries({ state: 'state', ...files })) {
    if (content !== undefined) await writeFile(`${draft}/${name}`, content)
  }
  await seal(draft)
  await rename(draft, folder)
}

/** Makes a template of what is in a folder. */
export function seal(folder: string): Promise<void> {
  const said = { kernelLog: 'Linux version 6\n' }
  return sealTemplate(localHost(), folder, { label, ...said })
}
