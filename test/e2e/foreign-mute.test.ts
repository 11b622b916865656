import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { dutTest, expect, GuestError } from 'vitest-dut'
import { bootSector } from '../support/boot-sector.ts'

const test = dutTest({ vms: 0, bootTimeout: '12s' })

test('a guest that never asks is told after bootTimeout, with what it printed', async ({ dut }) => {
  const dir = mkdtempSync(join(tmpdir(), 'dut-mute-'))
  const login = { user: 'root', password: 'geheim' }
  const spec = { guest: { disk: bootSector(dir, 'mute') }, login } as const
  const error = await dut.start(spec).then(
    () => expect.unreachable(),
    (error: unknown) => error as GuestError,
  )
  rmSync(dir, { recursive: true })
  expect(error).toBeInstanceOf(GuestError)
  expect(error.message).toContain('it got as far as "login"')
  // Once: kernel and console are one stream there.
  expect(error.tail?.match(/hello/g)).toHaveLength(1)
})
