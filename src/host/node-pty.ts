import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import type * as NodePty from '@lydell/node-pty'
import { firstLine, InfrastructureError } from '../errors.ts'

/** The npm package that opens terminals. Its program code is in a package for each platform. */
const NAME = '@lydell/node-pty'

const require = createRequire(import.meta.url)
let loaded: typeof NodePty | undefined

/**
 * The module that opens terminals. It is loaded when the first terminal is opened, because an
 * installation can lack it, and then an import would fail without a word about the remedy.
 *
 * @throws InfrastructureError where it cannot be loaded, with the line to type
 */
export function nodePty(): typeof NodePty {
  try {
    loaded ??= require(NAME) as typeof NodePty
    return loaded
  } catch (error) {
    throw notLoaded(error)
  }
}

function notLoaded(error: unknown): InfrastructureError {
  // The loader of the operating system could not use the file: it is there, and installing is no help.
  if (error instanceof Error && 'code' in error && error.code === 'ERR_DLOPEN_FAILED') {
    return new InfrastructureError(`${NAME} cannot be loaded: ${firstLine(error)}`, {
      hint: 'it needs glibc 2.28 or newer and libstdc++: on Debian, apt-get install libstdc++6',
      cause: error,
    })
  }
  const platform = `${process.platform}-${process.arch}`
  return new InfrastructureError(`${NAME} is installed without its part for ${platform}`, {
    hint: `install it, in this project: ${installLine(import.meta.dirname)}`,
  })
}

/**
 * Lines that install optional dependencies, also where an earlier installation left them out, and the
 * file in `node_modules` by which the package manager knows its own.
 */
const MANAGERS: readonly { name: RegExp; trace: string; line: string }[] = [
  { name: /^pnpm\//, trace: '.modules.yaml', line: 'pnpm install --force' },
  { name: /^yarn\/[01]\./, trace: '.yarn-integrity', line: 'yarn install --force' },
  { name: /^yarn\//, trace: '.yarn-state.yml', line: 'yarn install' },
  { name: /^bun\//, trace: '.bun', line: 'bun install --force' },
  { name: /^npm\//, trace: '.package-lock.json', line: 'npm install --include=optional' },
]

/**
 * The line to type for the package manager that has installed what is in `folder`; where that left no
 * trace, for the one that runs this process.
 */
export function installLine(folder: string, agent = process.env.npm_config_user_agent): string {
  for (let at = folder; at !== dirname(at); at = dirname(at)) {
    if (basename(at) !== 'node_modules') continue
    const found = MANAGERS.find(({ trace }) => existsSync(join(at, trace)))
    if (found) return found.line
  }
  const runs = MANAGERS.find(({ name }) => name.test(agent ?? ''))
  return (runs ?? (MANAGERS.at(-1) as (typeof MANAGERS)[number])).line
}
