import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { listOf, readRecipe } from '../../src/image/recipe.ts'

const SHIPPED = fileURLToPath(new URL('../../guest', import.meta.url))

test('the shipped recipe has its parts, and its lists no comments', async () => {
  const recipe = await readRecipe()
  for (const name of [
    'image/packages.txt',
    'image/customize.sh',
    'image/pmds.txt',
    'helper/main.c',
    'helper/agent.h',
  ]) {
    expect([...recipe.files.keys()]).toContain(name)
  }
  const packages = listOf(recipe, 'image/packages.txt')
  expect(packages).toContain('dpdk-dev')
  expect(packages.filter((name) => !/^[a-z0-9][a-z0-9.+-]+$/.test(name))).toEqual([])
  expect(new Set(packages).size).toBe(packages.length)
})

test('the key is the same for the same files, and another for any change in one', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'recipe-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  await cp(SHIPPED, folder, { recursive: true })
  const { key } = await readRecipe()
  expect((await readRecipe(folder)).key).toBe(key)
  await writeFile(join(folder, 'image/pmds.txt'), '# changed')
  const changed = (await readRecipe(folder)).key
  expect(changed).not.toBe(key)
  await rm(join(folder, 'image/pmds.txt'))
  expect([key, changed]).not.toContain((await readRecipe(folder)).key)
})

test('the key is another for each processor', async () => {
  const [intel, arm] = [await readRecipe(undefined, 'amd64'), await readRecipe(undefined, 'arm64')]
  expect((await readRecipe()).key).toBe(intel.key)
  expect(arm).toMatchObject({ architecture: 'arm64', files: intel.files })
  expect(arm.key).not.toBe(intel.key)
})
