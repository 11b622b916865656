import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { firstLine, UsageError } from '../errors.ts'
import { nearestTo } from '../options.ts'
import type { VirtElement, VirtParams } from './values.ts'
import { KEYS } from './virt-params.ts'

/**
 * The sections of a configuration file of DTS, each read when it is asked for: a VM's name, `KVM` in the
 * global one, or something else that is not in this format, such as `suite`.
 */
export type VirtConfig = Map<string, () => VirtParams>

interface Entry {
  line: number
  text: string
}

interface Section {
  entries: Map<string, Entry>
  /** Errors about what cannot be read of it. */
  wrong: UsageError[]
}

/**
 * Reads the format of DTS's `conf/*.cfg`: sections of keys, each a list of elements that `;` separates,
 * each a list of `NAME=VALUE` that `,` separates; a value may be continued on lines that are indented.
 * A value with a comma or a semicolon, which DTS could not say, goes between double quotes. A `#` behind
 * a blank begins a comment.
 *
 * @param file for messages
 * @throws UsageError naming file and line, for what is within a section when that is asked for
 */
export function parseVirtConfig(text: string, file: string): VirtConfig {
  return new Map(
    [...parseSections(text, file)].map(([name, { entries, wrong }]) => [
      name,
      () => {
        const [first] = wrong
        if (first !== undefined) throw first
        return Object.fromEntries(
          [...entries].map(([key, { line, text }]) => {
            const failed = (what: string, hint?: string): never => {
              throw wrongLine(file, line, `${key}: ${what}`, hint)
            }
            return [key, elements(text, failed)]
          }),
        )
      },
    ]),
  )
}

function parseSections(text: string, file: string): Map<string, Section> {
  const sections = new Map<string, Section>()
  let section: Section | undefined
  let entry: Entry | undefined
  const strays: UsageError[] = []
  let hasVmKey = false
  for (const [i, whole] of text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .entries()) {
    const line = i + 1
    const fail = (what: string, hint?: string) =>
      void (section?.wrong ?? strays).push(wrongLine(file, line, what, hint))
    if (/^\s*([#;].*)?$/.test(whole)) continue
    const raw = withoutComment(whole)
    const [, name] = /^\[([^\]]+)\]\s*$/.exec(raw) ?? []
    const [, key, value = ''] = /^([\w-]+)\s*[=:]\s*(.*)$/.exec(raw) ?? []
    if (name !== undefined) {
      section = sections.get(name) ?? { entries: new Map(), wrong: [] }
      if (sections.has(name)) fail(`section [${name}] is there twice`)
      sections.set(name, section)
      entry = undefined
    } else if (/^\s/.test(raw) && entry !== undefined) {
      entry.text += ` ${raw.trim()}`
    } else if (key === undefined) {
      fail(`${JSON.stringify(raw.trim())} is neither [section] nor key = value`)
    } else if (section === undefined) {
      hasVmKey ||= Object.hasOwn(KEYS, key)
      fail(`${key} is in no section`, 'write the name of the VM above it: [vm0]')
    } else {
      if (section.entries.has(key)) fail(`${key} is there twice`, 'separate its elements by ;')
      entry = { line, text: value }
      section.entries.set(key, entry)
    }
  }
  // A file of another kind, without a section, is not worth a word on its lines.
  if (strays[0] !== undefined && (sections.size > 0 || hasVmKey)) throw strays[0]
  return sections
}

function wrongLine(file: string, line: number, what: string, hint?: string): UsageError {
  return new UsageError(`${file}:${line}: ${what}`, { ...(hint && { hint }) })
}

/** A line up to a `#` that is in no quotes and begins a word. */
function withoutComment(line: string): string {
  return /^(?:[^"#]|"[^"]*"|(?<![\s;,])#|"(?=[^"]*$))*/.exec(line)?.[0].trimEnd() ?? line
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

/**
 * The names of the VMs that a file describes: sections with keys of VMs.
 *
 * @throws UsageError where it has none, naming what it has
 */
export async function vmsIn(file: string): Promise<string[]> {
  const sections = parseSections(await readText(file), file)
  const names = [...sections].filter(([name, section]) => describesVm(name, section))
  if (names.length > 0) return names.map(([name]) => name)
  const has = [...sections.keys()].map((name) => `[${name}]`).join(', ')
  throw new UsageError(`${file} describes no VM: its sections are ${has || 'none'}`, {
    hint: "a VM's section has keys such as cpu, mem, disk or device; --vm NAME takes one for a VM's",
  })
}

/** Settings of a suite have other keys, or values of another form; so have ports of a VM's section. */
function describesVm(name: string, { entries }: Section): boolean {
  if (NO_VMS.includes(name)) return false
  const isNamedSo = /^vm[\w-]*$/i.test(name)
  const known = [...entries].filter(([key]) => Object.hasOwn(KEYS, key))
  if (known.length === 0) return isNamedSo && !entries.has('ports')
  return isNamedSo || known.some(([, { text }]) => /^\s*\w+\s*=/.test(text))
}

/** Where DTS looks for a suite's file: `$DTS_CFG_FOLDER`, or else `conf` where the run was started. */
export function suiteConfig(suite: string): { file: string; global: string } {
  const folder = process.env.DTS_CFG_FOLDER ?? 'conf'
  return { file: join(folder, `${suite}.cfg`), global: join(folder, 'virt_global.cfg') }
}

async function readConfig(file: string): Promise<VirtConfig> {
  return parseVirtConfig(await readText(file), file)
}

function readText(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((cause) => {
    throw new UsageError(`${file} cannot be read: ${firstLine(cause)}`, { cause })
  })
}
