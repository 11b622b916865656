import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ArchName } from './arch.ts'

/** Everything that decides what a built guest holds. */
export interface Recipe {
  /** sha256 over all inputs, in hex: two guests with the same key are interchangeable. */
  key: string
  /** The files under `guest`, by their path there. */
  files: ReadonlyMap<string, Uint8Array>
  suite: string
  architecture: ArchName
}

// The packages' names hold DPDK's library version, so the list fits one release of Debian only.
const SUITE = 'bookworm'
// Raise it when the build does something else with the same files.
const FORMAT = 3

// The same two steps up from src/image and, in the packed npm package, from dist/image.
const FOLDER = fileURLToPath(new URL('../../guest', import.meta.url))

/** Reads the recipe of the built-in guest, which comes with this package. */
export async function readRecipe(
  folder: string = FOLDER,
  architecture: ArchName = 'amd64',
): Promise<Recipe> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const names = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort()
  const contents = await Promise.all(names.map((name) => readFile(join(folder, name))))
  const files = new Map(names.map((name, i) => [name, contents[i] as Uint8Array]))
  return { key: hash(files, architecture), files, suite: SUITE, architecture }
}

function hash(files: ReadonlyMap<string, Uint8Array>, architecture: ArchName): string {
  const sum = createHash('sha256')
  sum.update(JSON.stringify([FORMAT, SUITE, architecture]))
  for (const [name, content] of files) {
    sum.update(`\n${name}\n${content.length}\n`)
    sum.update(content)
  }
  return sum.digest('hex')
}

/** The lines of one of the recipe's lists, without comments and blank lines. */
export function listOf({ files }: Recipe, name: string): string[] {
  const content = files.get(name)
  if (!content) throw new Error(`the recipe has no ${name}`)
  return Buffer.from(content)
    .toString()
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim())
    .filter((line) => line !== '')
}
