import { mkdtemp, rm, utimes } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { dropForMemory } from '../../src/fleet/template-store.ts'
import type { Host } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'
import { admit } from '../../src/lease/admission/admit.ts'
import { listTemplates } from '../../src/vm/template/store.ts'
import { useLockDir } from '../support/lock-dir.ts'
import { putTemplate } from '../support/stored-template.ts'

useLockDir()

const M = 2 ** 20
const EACH = 20 * M
const KEYS = ['a', 'b', 'c'].map((letter) => letter.repeat(16))

let store: string
let host: Host
const opened = async () => ({ path: store, limit: 2 ** 30 })

/** Three templates in a store, the first one used longest ago. */
async function fill(within: string): Promise<void> {
  store = await mkdtemp(join(within, 'dut-store-'))
  onTestFinished(async () => {
    await rm(store, { recursive: true })
  })
  for (const [i, key] of KEYS.entries()) {
    const folder = `${store}/${key}`
    await putTemplate(folder, { memory: Buffer.alloc(EACH, 1) })
    const then = Date.now() / 1000 - 1000 + i
    await utimes(`${folder}/facts`, then, then)
  }
}

const left = async () => (await listTemplates(host, store)).map(({ key }) => key).sort()

beforeEach(() => {
  host = localHost()
})

describe('templates that nobody uses', () => {
  test('are dropped for memory, as many as it takes, those used longest ago first', async () => {
    await fill('/dev/shm')
    expect(await dropForMemory(host, opened(), 5 * M)).toBe(true)
    expect(await left()).toEqual(KEYS.slice(1))
    const user = await host.lock(`${store}/${KEYS[1]}`, { shared: true })
    expect(await dropForMemory(host, opened(), 1000 * M)).toBe(true)
    expect(await left()).toEqual([KEYS[1]])
    expect(await dropForMemory(host, opened(), M)).toBe(false)
    await user.release()
  })

  test('are none where they cannot be kept', async () => {
    const refused = Promise.reject(new Error('not a folder of this user alone'))
    expect(await dropForMemory(host, refused, M)).toBe(false)
  })

  test('stay where they take no memory', async () => {
    await fill(tmpdir())
    // All folders of a machine can be in memory, as in a live system.
    const disk = { exitCode: 0, stdout: 'ext2/ext3\n' }
    const run: Host['run'] = async (file, args, options) => {
      const result = await host.run(file, args, options)
      return file === 'stat' ? { ...result, ...disk } : result
    }
    expect(await dropForMemory({ ...host, run }, opened(), M)).toBe(false)
    expect(await left()).toEqual(KEYS)
  })

  test('do not keep VMs waiting', async () => {
    await fill('/dev/shm')
    // A host whose memory is full of them: beside them it has 100M.
    const full: Host = {
      ...host,
      readFile: async (path) => {
        if (path !== '/proc/meminfo') return host.readFile(path)
        const available = (100 * M + (KEYS.length - (await left()).length) * EACH) / 1024
        return Buffer.from(`MemTotal: 8388608 kB\nMemAvailable: ${available} kB\nHugetlb: 0 kB\n`)
      },
    }
    const wanted: number[] = []
    const makeRoom = (bytes: number) => {
      wanted.push(bytes)
      return dropForMemory(full, opened(), bytes)
    }
    const need = { dut: 'dut0', memory: 30 * M }
    const options = { makeRoom, timeoutMs: 20_000 }
    const three = await admit(full, [need, need, need], options)
    expect(wanted).toEqual([])
    expect(await left()).toEqual(KEYS)
    const [fourth] = await admit(full, [need], options)
    expect(wanted).toEqual([30 * M])
    expect(await left()).toEqual(KEYS.slice(2))
    for (const lease of [...three, fourth]) await lease?.release()
  })
})
