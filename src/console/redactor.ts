/** Puts `***` in place of a secret in text that comes piece by piece. */
export class Redactor {
  readonly #secret: string
  #kept = ''

  constructor(secret: string) {
    this.#secret = secret
  }

  /** What can be shown of it by now: what may be the secret's beginning is kept back. */
  push(text: string): string {
    if (this.#secret === '') return text
    const all = (this.#kept + text).replaceAll(this.#secret, '***')
    const most = Math.min(this.#secret.length - 1, all.length)
    let kept = most
    while (kept > 0 && !this.#secret.startsWith(all.slice(-kept))) kept -= 1
    this.#kept = kept === 0 ? '' : all.slice(-kept)
    return kept === 0 ? all : all.slice(0, -kept)
  }

  /** What is kept back. */
  flush(): string {
    const kept = this.#kept
    this.#kept = ''
    return kept
  }
}
