import type { PassPaper } from '../pass.ts';

/** One for each loss, in the order of the options. */
export const PAPERS: readonly PassPaper[] = [
  {
    title: 'kd: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015',
    url: 'https://arxiv.org/abs/1503.02531',
  },
  { title: 'dkd: Zhao et al., Decoupled Knowledge Distillation, CVPR 2022', url: 'https://arxiv.org/abs/2203.08679' },
  {
    title: 'at: Zagoruyko and Komodakis, Paying More Attention to Attention, ICLR 2017',
    url: 'https://arxiv.org/abs/1612.03928',
  },
  {
    title: 'sp: Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019',
    url: 'https://arxiv.org/abs/1907.09682',
  },
  {
    title: 'fitnet: Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015',
    url: 'https://arxiv.org/abs/1412.6550',
  },
  {
    title: 'vid: Ahn et al., Variational Information Distillation for Knowledge Transfer, CVPR 2019',
    url: 'https://arxiv.org/abs/1904.05835',
  },
  {
    title: 'pkt: Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer, ECCV 2018',
    url: 'https://arxiv.org/abs/1803.10837',
  },
  {
    title: 'cc: Peng et al., Correlation Congruence for Knowledge Distillation, ICCV 2019',
    url: 'https://arxiv.org/abs/1904.01802',
  },
  {
    title: 'crd: Tian, Krishnan and Isola, Contrastive Representation Distillation, ICLR 2020',
    url: 'https://arxiv.org/abs/1910.10699',
  },
  { title: 'rkd: Park et al., Relational Knowledge Distillation, CVPR 2019', url: 'https://arxiv.org/abs/1904.05068' },
];
