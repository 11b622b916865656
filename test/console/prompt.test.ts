import { describe, expect, test } from 'vitest'
import { afterEcho, CutPrompt, CutPromptMatcher } from '../../src/console/prompt.ts'

const PROMPT = new CutPrompt('testpmd> ', "testpmd's prompt")
const LINE = 'Rx csum will be done in SW, may impact performance.\n'
const EVENT = '\nPort 0: link state change event\n'
const BEFORE = 'RX-packets: 7\nDone\n'

/** Finds the prompt in `text` that comes in pieces of `size` characters. */
function promptIn(text: string, size: number) {
  const matcher = new CutPromptMatcher(PROMPT)
  for (let at = 0; at < text.length; at += size) {
    const match = matcher.push(text.slice(at, at + size))
    if (match) return match
  }
  return undefined
}

/** `text` with `noise` at one place. */
const put = (text: string, noise: string, at: number) => text.slice(0, at) + noise + text.slice(at)
const PLACES = Array.from({ length: PROMPT.text.length }, (_, at) => at)

describe('a prompt that other threads’ lines may cut', () => {
  test.each([1, 2, 7, 1000])('is found in pieces of %i characters', (size) => {
    const [from, to] = [BEFORE.length, BEFORE.length + PROMPT.text.length]
    expect(promptIn(`${BEFORE}testpmd> `, size)).toEqual({ from, to })
  })

  test.each([
    ['a line of whatever words', LINE],
    ['a line that begins with an empty one', EVENT],
    ['several lines', LINE + EVENT + EVENT + LINE],
    ['a line that begins as the prompt does', 'testpmd: create a new mbuf pool\n'],
  ])('is found with %s at any place in it', (_, noise) => {
    for (const place of PLACES) {
      const text = BEFORE + put(PROMPT.text, noise, place)
      // Before its first character the line belongs to what was printed before.
      const from = place === 0 ? text.length - PROMPT.text.length : BEFORE.length
      expect(promptIn(text, 3), `at ${place}`).toEqual({ from, to: text.length })
    }
  })

  test('is found with a line between any two characters of it', () => {
    const text = BEFORE + [...PROMPT.text].join(EVENT)
    expect(promptIn(text, 5)).toEqual({ from: BEFORE.length, to: text.length })
  })

  test('is found behind output that does not end its line', () => {
    // One character alone could be any that ends a line.
    for (const place of PLACES.slice(2)) {
      const text = `no newline${put(PROMPT.text, EVENT, place)}`
      expect(promptIn(text, 4), `at ${place}`).toMatchObject({ from: 10 })
    }
  })

  test('is found although lines go on behind it', () => {
    expect(promptIn(`tes${EVENT}tpmd> Port 0 pkt-len=64\nmore\n`, 1000)).toMatchObject({ from: 0 })
  })

  test.each([
    'testpmd: create a new mbuf pool\ntestpmd>\n',
    'testpmd\n here\n',
    't\ne\ns\nt\np\nm\nd\n',
    '> \n \n',
  ])('is not seen in %j', (text) => {
    expect(promptIn(text, 4)).toBeUndefined()
  })

  test('is found in a million lines as fast as in none', () => {
    const matcher = new CutPromptMatcher(PROMPT)
    const lines = 'txonly is set\n'.repeat(1000)
    for (let i = 0; i < 1000; i++) expect(matcher.push(lines)).toBeUndefined()
    expect(matcher.push(PROMPT.text)).toMatchObject({ from: 1000 * lines.length })
  })
})

describe('the text behind the echo', () => {
  const line = 'show port stats 0'

  test.each([
    ['nothing else', `${line}\nRX\n`],
    ['a line before it', `${LINE}${line}\nRX\n`],
    ['an event before it', `${EVENT}${line}\nRX\n`],
    ['the terminal’s own echo, too', `${line}\n${line}\nRX\n`],
    ['no echo', 'RX\n'],
  ])('is the answer: %s', (_, text) => {
    expect(afterEcho(text, line)).toBe('RX\n')
  })

  test.each([LINE, EVENT, LINE + LINE, EVENT + LINE])(
    'is the answer with %j anywhere in it',
    (noise) => {
      for (let at = 0; at <= line.length; at++) {
        // An event between the echo and its newline looks like one behind it.
        if (at === line.length && noise.startsWith('\n')) continue
        expect(afterEcho(`${put(line, noise, at)}\nRX\n`, line), `at ${at}`).toBe('RX\n')
      }
    },
  )
})
