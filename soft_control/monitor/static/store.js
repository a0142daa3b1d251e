// A ring of rows, as the server's: float32 columns, overwritten from the oldest on.

export class Store {
  constructor() { this.clear({ generation: -1, columns: [], points: [], row_s: 0.04, rows_max: 1 }); }

  // A layout of another generation: all rows before it are void.
  clear(layout) {
    this.layout = layout;
    this.capacity = layout.rows_max;
    this.count = 0; // rows that have come; row i is at i % capacity
    this.time = new Float64Array(this.capacity);
    this.columns = layout.columns.map((column, index) => ({
      ...column, index, values: new Float32Array(this.capacity).fill(NaN),
    }));
    this.version = 0;
  }

  // A binary frame: four uint32, then rows of time and values. See wire.py.
  take(buffer) {
    const [generation, , rows, columns] = new Uint32Array(buffer, 0, 4);
    if (generation !== this.layout.generation || columns !== this.columns.length) return;
    const values = new Float32Array(buffer, 16);
    for (let row = 0, from = 0; row < rows; row++, from += columns + 1) {
      const at = this.count % this.capacity;
      this.time[at] = values[from] * this.layout.row_s;
      for (let c = 0; c < columns; c++) this.columns[c].values[at] = values[from + 1 + c];
      this.count++;
    }
    this.version++;
  }

  get first() { return Math.max(0, this.count - this.capacity); }
  get newest() { return this.count ? this.time[(this.count - 1) % this.capacity] : 0; }

  of(stream) { return this.columns.filter((column) => column.stream === stream); }
  find(stream, name) { return this.columns.find((c) => c.stream === stream && c.name === name); }

  // Number of the first row whose time is not before t.
  from(t) {
    let low = this.first, high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.time[middle % this.capacity] < t) low = middle + 1; else high = middle;
    }
    return low;
  }

  // The last time, not after t, at which all these columns have a value; NaN where none is near.
  last(columns, t) {
    const newest = this.from(t + 1e-6) - 1, oldest = Math.max(this.first, newest - 50);
    for (let i = newest; i >= oldest; i--) {
      const at = i % this.capacity;
      if (columns.every(({ values }) => !Number.isNaN(values[at]))) return this.time[at];
    }
    return NaN;
  }

  // The value of a column at time t or just before; NaN where there is none near it.
  at(column, t) {
    const oldest = Math.max(this.first, this.from(t + 1e-6) - 50);
    for (let i = this.from(t + 1e-6) - 1; i >= oldest; i--) {
      const value = column.values[i % this.capacity];
      if (!Number.isNaN(value)) return value;
    }
    return NaN;
  }
}
