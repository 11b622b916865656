import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { localHost } from '../../src/host/local.ts'

const host = localHost()
let dir = ''
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'files-'))
})
afterAll(() => rm(dir, { recursive: true }))

const modeOf = async (path: string) => (await stat(path)).mode & 0o777

describe('a file that is written', () => {
  test('has its bytes and its mode, whatever was there before', async () => {
    const path = join(dir, 'file')
    await host.writeFile(path, 'first, and longer')
    expect(await readFile(path, 'utf8')).toBe('first, and longer')
    expect(await modeOf(path)).toBe(0o644)
    await host.writeFile(path, Uint8Array.of(0, 255, 10), 0o600)
    expect([...(await host.readFile(path))]).toEqual([0, 255, 10])
    expect(await modeOf(path)).toBe(0o600)
  })

  test('is never seen half written, nor by two writers mixed', async () => {
    const path = join(dir, 'atomic')
    const texts = ['a', 'b', 'c'].map((letter) => letter.repeat(1 << 20))
    await host.writeFile(path, texts[0] ?? '')
    let writing = true
    const readers = (async () => {
      let seen = 0
      for (; writing; seen++) expect(texts).toContain(await readFile(path, 'utf8'))
      return seen
    })()
    for (let i = 0; i < 10; i++) await Promise.all(texts.map((text) => host.writeFile(path, text)))
    writing = false
    expect(await readers).toBeGreaterThan(2)
    expect((await readdir(dir)).filter((name) => name.startsWith('atomic'))).toEqual(['atomic'])
  })

  test('that cannot be put in place leaves no draft', async () => {
    const folder = join(dir, 'a-folder')
    await host.makeDir(join(folder, 'full'))
    await expect(host.writeFile(folder, 'x')).rejects.toThrow('EISDIR')
    await expect(host.writeFile(join(dir, 'none/x'), 'x')).rejects.toThrow('ENOENT')
    expect((await readdir(dir)).filter((name) => name.startsWith('a-folder'))).toEqual(['a-folder'])
  })
})

describe('a folder', () => {
  test('is made with those above it, and again without complaint', async () => {
    const path = join(dir, 'x/y/z')
    await host.makeDir(path, 0o700)
    await host.makeDir(path)
    expect(await modeOf(path)).toBe(0o700)
  })

  test('is listed; one that is not there is empty', async () => {
    await host.makeDir(join(dir, 'list/b'))
    await writeFile(join(dir, 'list/a'), '')
    expect((await host.listDir(join(dir, 'list'))).sort()).toEqual(['a', 'b'])
    expect(await host.listDir(join(dir, 'nothing'))).toEqual([])
    await expect(host.listDir(join(dir, 'list/a'))).rejects.toThrow('ENOTDIR')
  })

  test('is removed with all in it; removing nothing is no error', async () => {
    const path = join(dir, 'gone')
    await host.makeDir(join(path, 'b/c'))
    await writeFile(join(path, 'b/c/d'), '')
    await host.remove(path)
    await host.remove(path)
    expect(await readdir(dir)).not.toContain('gone')
  })
})
