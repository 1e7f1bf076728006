// Everything can be read without this: it shows the marks' titles at once, sorts tables, copies the command.
(() => {
  const tip = document.createElement('div');
  tip.id = 'tip';
  document.body.append(tip);
  const place = e => {
    const box = tip.getBoundingClientRect();
    const x = Math.min(e.clientX + 14, innerWidth - box.width - 8);
    const y = e.clientY - box.height - 12;
    tip.style.left = Math.max(8, x) + 'px';
    tip.style.top = (y < 8 ? e.clientY + 18 : y) + 'px';
  };
  document.addEventListener('pointerover', e => {
    const mark = e.target.closest && e.target.closest('.fig *');
    const title = mark && mark.querySelector(':scope > title');
    if (title) { mark.dataset.tip = title.textContent; title.remove(); }
    const text = mark && mark.dataset.tip;
    tip.style.opacity = text ? 1 : 0;
    if (text) { tip.textContent = text; place(e); }
  });
  document.addEventListener('pointermove', e => { if (tip.style.opacity === '1') place(e); });

  for (const table of document.querySelectorAll('table.sortable')) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement('button');
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener('click', () => {
        const up = head.getAttribute('aria-sort') !== 'ascending';
        const key = row => {
          const cell = row.cells[column];
          return 'v' in cell.dataset ? parseFloat(cell.dataset.v) : cell.textContent;
        };
        const rows = [...body.rows].map(row => [key(row), row]);
        rows.sort(([a], [b]) => {
          if (typeof a === 'string') return up ? a.localeCompare(b) : b.localeCompare(a);
          if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b);
          return up ? a - b : b - a;
        });
        for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
        head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
        body.append(...rows.map(([, row]) => row));
      });
    });
  }

  for (const block of document.querySelectorAll('.command')) {
    if (!navigator.clipboard) continue;
    const button = document.createElement('button');
    button.textContent = 'Copy';
    button.addEventListener('click', async () => {
      await navigator.clipboard.writeText(block.querySelector('pre').textContent);
      button.textContent = 'Copied';
      setTimeout(() => { button.textContent = 'Copy'; }, 1500);
    });
    block.append(button);
  }
})();
