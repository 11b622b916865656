import { expect } from 'vitest'
import { UsageError } from '../../src/errors.ts'

/** What is thrown by something that is to be refused. */
export function refusal(fn: () => unknown): UsageError {
  try {
    fn()
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError)
    return error as UsageError
  }
  return expect.unreachable()
}
