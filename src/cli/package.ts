// Read also by a Node that is too old for the rest: nothing newer than ES modules here.
import { readFileSync } from 'node:fs'

interface PackageFile {
  version: string
  engines: { node: string }
}

// The same two steps up from src/cli and, in the packed npm package, from dist/cli.
const FILE = new URL('../../package.json', import.meta.url)

const { version, engines } = JSON.parse(readFileSync(FILE, 'utf8')) as PackageFile

export { version as VERSION }

/** The versions of Node that this package runs on, as npm writes them. */
export const NODE_VERSIONS = engines.node

/**
 * Whether a version is in a range of the kind that is in our package.json: `^22.12.0 || >=26.0.0`.
 */
export function inRange(version: string, range: string): boolean {
  const given = numbers(version)
  return range.split('||').some((part) => {
    const least = numbers(part)
    const at = [0, 1, 2].find((i) => given[i] !== least[i])
    const enough = at === undefined || (given[at] ?? 0) > (least[at] ?? 0)
    return enough && (part.includes('>=') || given[0] === least[0])
  })
}

function numbers(text: string): number[] {
  return (text.match(/\d+/g) ?? []).map(Number)
}
