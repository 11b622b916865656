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
  const manager = packageManager(import.meta.dirname)
  return new InfrastructureError(`${NAME} is installed without its part for ${platform}`, {
    hint: `install it, in this project: ${INSTALL[manager]}`,
    cause: error,
  })
}

type PackageManager = 'npm' | 'pnpm' | 'yarn' | 'bun'

/** Installs dependencies that are optional, also where an earlier installation left them out. */
const INSTALL: Record<PackageManager, string> = {
  npm: 'npm install --include=optional',
  pnpm: 'pnpm install --force',
  yarn: 'yarn install --force',
  bun: 'bun install --force',
}

/** Files by which each package manager knows its own `node_modules`. */
const TRACES: readonly [file: string, manager: PackageManager][] = [
  ['.modules.yaml', 'pnpm'],
  ['.pnpm', 'pnpm'],
  ['.yarn-integrity', 'yarn'],
  ['.yarn-state.yml', 'yarn'],
  ['.bun', 'bun'],
  ['.package-lock.json', 'npm'],
]

/**
 * The package manager that has installed what is in `folder`; where that left no trace, the one that
 * runs this process.
 */
export function packageManager(folder: string): PackageManager {
  if ('pnp' in process.versions) return 'yarn'
  for (let at = folder; at !== dirname(at); at = dirname(at)) {
    if (basename(at) !== 'node_modules') continue
    const found = TRACES.find(([file]) => existsSync(join(at, file)))
    if (found) return found[1]
  }
  const agent = process.env.npm_config_user_agent ?? ''
  const [name = ''] = agent.split('/')
  return name in INSTALL ? (name as PackageManager) : 'npm'
}
