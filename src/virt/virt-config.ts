import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { firstLine, UsageError } from '../errors.ts'
import { nearestTo } from '../options.ts'
import type { VirtElement, VirtParams } from './values.ts'

/**
 * The sections of a configuration file of DTS, each read when it is asked for: a VM's name, `KVM` in the
 * global one, or something else that is not in this format, such as `suite`.
 */
export type VirtConfig = Map<string, () => VirtParams>

interface Entry {
  line: number
  text: string
}

/**
 * Reads the format of DTS's `conf/*.cfg`: sections of keys, each a list of elements that `;` separates,
 * each a list of `NAME=VALUE` that `,` separates; a value may be continued on lines that are indented.
 * What DTS could not say, a value with a comma or a semicolon, goes between double quotes.
 *
 * @param file for messages
 * @throws UsageError naming file and line, for what is within a section when that is asked for
 */
export function parseVirtConfig(text: string, file: string): VirtConfig {
  const config: VirtConfig = new Map()
  let section: Map<string, Entry> | undefined
  let entry: Entry | undefined
  const sections = new Map<string, Map<string, Entry>>()
  const fail = (line: number, what: string, hint?: string): never => {
    throw new UsageError(`${file}:${line}: ${what}`, { ...(hint && { hint }) })
  }
  for (const [i, raw] of text.split(/\r?\n/).entries()) {
    const line = i + 1
    if (/^\s*([#;].*)?$/.test(raw)) continue
    const [, name] = /^\[([^\]]+)\]\s*$/.exec(raw) ?? []
    const [, key, value = ''] = /^([\w-]+)\s*[=:]\s*(.*)$/.exec(raw) ?? []
    if (name !== undefined) {
      if (sections.has(name)) fail(line, `section [${name}] is there twice`)
      section = new Map()
      sections.set(name, section)
      entry = undefined
    } else if (/^\s/.test(raw) && entry !== undefined) {
      entry.text += ` ${raw.trim()}`
    } else if (key === undefined) {
      fail(line, `${JSON.stringify(raw.trim())} is neither [section] nor key = value`)
    } else if (section === undefined) {
      fail(line, `${key} is in no section`, 'write the name of the VM above it: [vm0]')
    } else {
      if (section.has(key)) fail(line, `${key} is there twice`, 'separate its elements by ;')
      entry = { line, text: value }
      section.set(key, entry)
    }
  }
  for (const [name, entries] of sections) {
    config.set(name, () =>
      Object.fromEntries(
        [...entries].map(([key, { line, text }]) => {
          const failed = (what: string, hint?: string) => fail(line, `${key}: ${what}`, hint)
          return [key, elements(text, failed)]
        }),
      ),
    )
  }
  return config
}

function elements(text: string, fail: (what: string, hint?: string) => never): VirtElement[] {
  return split(text, ';', fail).map((element) => {
    const options: VirtElement = {}
    for (const part of split(element, ',', fail)) {
      const at = part.indexOf('=')
      if (at < 1) {
        fail(`${JSON.stringify(part)} is not NAME=VALUE`, 'a comma within a value: NAME="a,b"')
      }
      const name = part.slice(0, at).trim()
      if (Object.hasOwn(options, name)) fail(`${name} is there twice`)
      options[name] = part
        .slice(at + 1)
        .trim()
        .replace(/^"(.*)"$/, '$1')
    }
    return options
  })
}

/** The pieces between separators that are in no quotes, without those that are blank. */
function split(text: string, separator: string, fail: (what: string) => never): string[] {
  const pieces = ['']
  let isQuoted = false
  for (const character of text) {
    if (character === '"') isQuoted = !isQuoted
    if (character === separator && !isQuoted) pieces.push('')
    else pieces[pieces.length - 1] += character
  }
  if (isQuoted) fail('a quote is not closed')
  return pieces.map((piece) => piece.trim()).filter((piece) => piece !== '')
}

export interface VirtConfigPlace {
  /** The file of the VM's section. */
  file: string
  /** The section: the VM's name. */
  vm: string
  /** DTS's `virt_global.cfg`, of which section `KVM` counts. */
  global?: string
}

/**
 * What a configuration says of a VM. As in DTS, its own section replaces whole keys of the global file:
 * `cpu = number=2` there leaves nothing of a global `cpu`.
 *
 * @throws UsageError for a file or a section that is not there, naming those that are
 */
export async function readVirtConfig({ file, vm, global }: VirtConfigPlace): Promise<VirtParams> {
  const config = await readConfig(file)
  const local = config.get(vm)
  if (local === undefined) {
    const known = [...config.keys()]
    const nearest = nearestTo(vm, known)
    throw new UsageError(`${file} has no section [${vm}]`, {
      hint: nearest ? `did you mean [${nearest}]?` : `it has: ${known.join(', ') || 'none'}`,
    })
  }
  const before = global === undefined ? undefined : (await readConfig(global)).get('KVM')
  return { ...before?.(), ...local() }
}

/** Sections that DTS reads elsewhere. */
const NO_VMS = ['suite', 'scene', 'KVM', 'LIBVIRT', 'XEN']

/** The names of the VMs that a file describes. */
export async function vmsIn(file: string): Promise<string[]> {
  return [...(await readConfig(file)).keys()].filter((name) => !NO_VMS.includes(name))
}

/** Where DTS looks for a suite's file: `$DTS_CFG_FOLDER`, or else `conf` where the run was started. */
export function suiteConfig(suite: string): { file: string; global: string } {
  const folder = process.env.DTS_CFG_FOLDER ?? 'conf'
  return { file: join(folder, `${suite}.cfg`), global: join(folder, 'virt_global.cfg') }
}

async function readConfig(file: string): Promise<VirtConfig> {
  const text = await readFile(file, 'utf8').catch((cause) => {
    throw new UsageError(`${file} cannot be read: ${firstLine(cause)}`, { cause })
  })
  return parseVirtConfig(text, file)
}
