"""The papers whose methods are used here, by how a text cites them."""

from collections.abc import Sequence

__all__ = ["PAPERS", "cited", "joined"]

PAPERS = {
    "Kriegeskorte, Mur & Bandettini, 2008": "Kriegeskorte N, Mur M, Bandettini P (2008). Representational similarity "
    "analysis: connecting the branches of systems neuroscience. Front Syst Neurosci 2:4.",
    "Kriegeskorte, Goebel & Bandettini, 2006": "Kriegeskorte N, Goebel R, Bandettini P (2006). Information-based "
    "functional brain mapping. Proc Natl Acad Sci USA 103:3863-3868.",
    "Mumford et al., 2012": "Mumford JA, Turner BO, Ashby FG, Poldrack RA (2012). Deconvolving BOLD activation in "
    "event-related designs for multivoxel pattern classification analyses. NeuroImage 59:2636-2643.",
    "Walther et al., 2016": "Walther A, Nili H, Ejaz N, Alink A, Kriegeskorte N, Diedrichsen J (2016). Reliability of "
    "dissimilarity measures for multi-voxel pattern analysis. NeuroImage 137:188-200.",
    "Guggenmos et al., 2018": "Guggenmos M, Sterzer P, Cichy RM (2018). Multivariate pattern analysis for MEG: a "
    "comparison of dissimilarity measures. NeuroImage 173:434-447.",
    "Ledoit & Wolf, 2004": "Ledoit O, Wolf M (2004). A well-conditioned estimator for large-dimensional covariance "
    "matrices. J Multivar Anal 88:365-411.",
    "Schäfer & Strimmer, 2005": "Schäfer J, Strimmer K (2005). A shrinkage approach to large-scale covariance matrix "
    "estimation and implications for functional genomics. Stat Appl Genet Mol Biol 4:32.",
    "Schütt et al., 2023": "Schütt HH, Kipnis AD, Diedrichsen J, Kriegeskorte N (2023). Statistical inference on "
    "representational geometries. eLife 12:e82566.",
    "Nili et al., 2014": "Nili H, Wingfield C, Walther A, Su L, Marslen-Wilson W, Kriegeskorte N (2014). A toolbox for "
    "representational similarity analysis. PLoS Comput Biol 10:e1003553.",
    "Nimon & Oswald, 2013": "Nimon K, Oswald FL (2013). Understanding the results of multiple linear regression: "
    "beyond standardized regression coefficients. Organ Res Methods 16:650-674.",
    "Daugman, 1985": "Daugman JG (1985). Uncertainty relation for resolution in space, spatial frequency, and "
    "orientation optimized by two-dimensional visual cortical filters. J Opt Soc Am A 2:1160-1169.",
    "Adelson & Bergen, 1985": "Adelson EH, Bergen JR (1985). Spatiotemporal energy models for the perception of "
    "motion. J Opt Soc Am A 2:284-299.",
    "Jones & Palmer, 1987": "Jones JP, Palmer LA (1987). An evaluation of the two-dimensional Gabor filter model of "
    "simple receptive fields in cat striate cortex. J Neurophysiol 58:1233-1258.",
    "Kay et al., 2008": "Kay KN, Naselaris T, Prenger RJ, Gallant JL (2008). Identifying natural images from human "
    "brain activity. Nature 452:352-355.",
    "Riesenhuber & Poggio, 1999": "Riesenhuber M, Poggio T (1999). Hierarchical models of object recognition in "
    "cortex. Nat Neurosci 2:1019-1025.",
    "Serre et al., 2007": "Serre T, Wolf L, Bileschi S, Riesenhuber M, Poggio T (2007). Robust object recognition "
    "with cortex-like mechanisms. IEEE Trans Pattern Anal Mach Intell 29:411-426.",
    "Mutch & Lowe, 2008": "Mutch J, Lowe DG (2008). Object class recognition and localization using sparse features "
    "with limited receptive fields. Int J Comput Vis 80:45-57.",
    "Hebart et al., 2018": "Hebart MN, Bankson BB, Harel A, Baker CI, Cichy RM (2018). The representational dynamics "
    "of task and object processing in humans. eLife 7:e32816.",
    "Fischl et al., 1999": "Fischl B, Sereno MI, Tootell RBH, Dale AM (1999). High-resolution intersubject averaging "
    "and a coordinate system for the cortical surface. Hum Brain Mapp 8:272-284.",
    "Zhou et al., 2015": "Zhou B, Khosla A, Lapedriza A, Oliva A, Torralba A (2015). Object detectors emerge in deep "
    "scene CNNs. ICLR.",
    "Erhan et al., 2009": "Erhan D, Bengio Y, Courville A, Vincent P (2009). Visualizing higher-layer features of a "
    "deep network. Technical report 1341, University of Montreal.",
    "Zeiler & Fergus, 2014": "Zeiler MD, Fergus R (2014). Visualizing and understanding convolutional networks. ECCV, "
    "818-833.",
    "van der Maaten & Hinton, 2008": "van der Maaten L, Hinton G (2008). Visualizing data using t-SNE. J Mach Learn "
    "Res 9:2579-2605.",
    "Storrs et al., 2021": "Storrs KR, Kietzmann TC, Walther A, Mehrer J, Kriegeskorte N (2021). Diverse deep neural "
    "networks all predict human inferior temporal cortex well, after training and fitting. J Cogn Neurosci "
    "33:2044-2064.",
    "Schrimpf et al., 2018": "Schrimpf M, Kubilius J, Hong H, Majaj NJ, Rajalingham R, Issa EB, and 7 others (2018). "
    "Brain-Score: which artificial neural network for object recognition is most brain-like? bioRxiv 407007.",
    "Conwell et al., 2024": "Conwell C, Prince JS, Kay KN, Alvarez GA, Konkle T (2024). A large-scale examination of "
    "inductive biases shaping high-level visual representation in brains and machines. Nature Communications 15:9383.",
    "Cichy et al., 2014": "Cichy RM, Pantazis D, Oliva A (2014). Resolving human object recognition in space and time. "
    "Nat Neurosci 17:455-462.",
    "Cichy et al., 2016": "Cichy RM, Khosla A, Pantazis D, Torralba A, Oliva A (2016). Comparison of deep neural "
    "networks to spatio-temporal cortical dynamics of human visual object recognition reveals hierarchical "
    "correspondence. Sci Rep 6:27755.",
    "Smith & Nichols, 2009": "Smith SM, Nichols TE (2009). Threshold-free cluster enhancement: addressing problems of "
    "smoothing, threshold dependence and localisation in cluster inference. NeuroImage 44:83-98.",
    "Bullmore et al., 1999": "Bullmore ET, Suckling J, Overmeyer S, Rabe-Hesketh S, Taylor E, Brammer MJ (1999). "
    "Global, voxel, and cluster tests, by theory and permutation, for a difference between two groups of structural "
    "MR images of the brain. IEEE Trans Med Imaging 18:32-42.",
    "Forman et al., 1995": "Forman SD, Cohen JD, Fitzgerald M, Eddy WF, Mintun MA, Noll DC (1995). Improved assessment "
    "of significant activation in functional magnetic resonance imaging (fMRI): use of a cluster-size threshold. Magn "
    "Reson Med 33:636-647.",
    "Freedman & Lane, 1983": "Freedman D, Lane D (1983). A nonstochastic interpretation of reported significance "
    "levels. J Bus Econ Stat 1:292-298.",
    "Winkler et al., 2014": "Winkler AM, Ridgway GR, Webster MA, Smith SM, Nichols TE (2014). Permutation inference "
    "for the general linear model. NeuroImage 92:381-397.",
    "Holm, 1979": "Holm S (1979). A simple sequentially rejective multiple test procedure. Scand J Stat 6:65-70.",
    "Nichols & Holmes, 2002": "Nichols TE, Holmes AP (2002). Nonparametric permutation tests for functional "
    "neuroimaging: a primer with examples. Hum Brain Mapp 15:1-25.",
    "Benjamini & Hochberg, 1995": "Benjamini Y, Hochberg Y (1995). Controlling the false discovery rate: a practical "
    "and powerful approach to multiple testing. J R Stat Soc B 57:289-300.",
    "Benjamini & Yekutieli, 2001": "Benjamini Y, Yekutieli D (2001). The control of the false discovery rate in "
    "multiple testing under dependency. Ann Stat 29:1165-1188.",
    "Stelzer et al., 2013": "Stelzer J, Chen Y, Turner R (2013). Statistical inference and multiple testing correction "
    "in classification-based multi-voxel pattern analysis (MVPA): random permutations and cluster size control. "
    "NeuroImage 65:69-82.",
    "Deng et al., 2009": "Deng J, Dong W, Socher R, Li LJ, Li K, Fei-Fei L (2009). ImageNet: a large-scale "
    "hierarchical image database. IEEE CVPR, 248-255.",
    "Wightman, 2019": "Wightman R (2019). PyTorch image models. GitHub repository, huggingface/pytorch-image-models, "
    "doi:10.5281/zenodo.4414861.",
    "Touvron et al., 2021": "Touvron H, Cord M, Douze M, Massa F, Sablayrolles A, Jégou H (2021). Training "
    "data-efficient image transformers & distillation through attention. ICML, 10347-10357.",
    "Bao et al., 2022": "Bao H, Dong L, Piao S, Wei F (2022). BEiT: BERT pre-training of image transformers. ICLR.",
    "Tolstikhin et al., 2021": "Tolstikhin I, Houlsby N, Kolesnikov A, Beyer L, Zhai X, Unterthiner T, and 6 others "
    "(2021). MLP-Mixer: an all-MLP architecture for vision. Adv Neural Inf Process Syst 34:24261-24272.",
    "Oquab et al., 2024": "Oquab M, Darcet T, Moutakanni T, Vo H, Szafraniec M, Khalidov V, and 20 others (2024). "
    "DINOv2: learning robust visual features without supervision. Trans Mach Learn Res.",
    "Radford et al., 2021": "Radford A, Kim JW, Hallacy C, Ramesh A, Goh G, Agarwal S, and 6 others (2021). Learning "
    "transferable visual models from natural language supervision. ICML, 8748-8763.",
    "Wolf et al., 2020": "Wolf T, Debut L, Sanh V, Chaumond J, Delangue C, Moi A, and 16 others (2020). Transformers: "
    "state-of-the-art natural language processing. EMNLP: System Demonstrations, 38-45.",
    "Ilharco et al., 2021": "Ilharco G, Wortsman M, Wightman R, Gordon C, Carlini N, Taori R, and 8 others (2021). "
    "OpenCLIP. doi:10.5281/zenodo.5143773.",
    "Paszke et al., 2019": "Paszke A, Gross S, Massa F, and 18 others (2019). PyTorch: an imperative style, "
    "high-performance deep learning library. Adv Neural Inf Process Syst 32:8024-8035.",
    "Krizhevsky, 2014": "Krizhevsky A (2014). One weird trick for parallelizing convolutional neural networks. "
    "arXiv:1404.5997.",
    "Simonyan & Zisserman, 2015": "Simonyan K, Zisserman A (2015). Very deep convolutional networks for large-scale "
    "image recognition. ICLR.",
    "He et al., 2016": "He K, Zhang X, Ren S, Sun J (2016). Deep residual learning for image recognition. IEEE CVPR, "
    "770-778.",
    "Xie et al., 2017": "Xie S, Girshick R, Dollár P, Tu Z, He K (2017). Aggregated residual transformations for deep "
    "neural networks. IEEE CVPR, 1492-1500.",
    "Zagoruyko & Komodakis, 2016": "Zagoruyko S, Komodakis N (2016). Wide residual networks. BMVC, 87.1-87.12.",
    "Iandola et al., 2016": "Iandola FN, Han S, Moskewicz MW, Ashraf K, Dally WJ, Keutzer K (2016). SqueezeNet: "
    "AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size. arXiv:1602.07360.",
    "Huang et al., 2017": "Huang G, Liu Z, van der Maaten L, Weinberger KQ (2017). Densely connected convolutional "
    "networks. IEEE CVPR, 4700-4708.",
    "Szegedy et al., 2015": "Szegedy C, Liu W, Jia Y, Sermanet P, Reed S, Anguelov D, Erhan D, Vanhoucke V, "
    "Rabinovich A (2015). Going deeper with convolutions. IEEE CVPR, 1-9.",
    "Szegedy et al., 2016": "Szegedy C, Vanhoucke V, Ioffe S, Shlens J, Wojna Z (2016). Rethinking the Inception "
    "architecture for computer vision. IEEE CVPR, 2818-2826.",
    "Sandler et al., 2018": "Sandler M, Howard A, Zhu M, Zhmoginov A, Chen LC (2018). MobileNetV2: inverted residuals "
    "and linear bottlenecks. IEEE CVPR, 4510-4520.",
    "Howard et al., 2019": "Howard A, Sandler M, Chu G, Chen LC, Chen B, Tan M, and 6 others (2019). Searching for "
    "MobileNetV3. IEEE ICCV, 1314-1324.",
    "Tan & Le, 2019": "Tan M, Le QV (2019). EfficientNet: rethinking model scaling for convolutional neural networks. "
    "ICML, 6105-6114.",
    "Tan & Le, 2021": "Tan M, Le QV (2021). EfficientNetV2: smaller models and faster training. ICML, 10096-10106.",
    "Dosovitskiy et al., 2021": "Dosovitskiy A, Beyer L, Kolesnikov A, Weissenborn D, Zhai X, Unterthiner T, and 6 "
    "others (2021). An image is worth 16x16 words: transformers for image recognition at scale. ICLR.",
    "Liu et al., 2021": "Liu Z, Lin Y, Cao Y, Hu H, Wei Y, Zhang Z, Lin S, Guo B (2021). Swin Transformer: "
    "hierarchical vision transformer using shifted windows. IEEE ICCV, 10012-10022.",
    "Liu et al., 2022": "Liu Z, Mao H, Wu CY, Feichtenhofer C, Darrell T, Xie S (2022). A ConvNet for the 2020s. IEEE "
    "CVPR, 11976-11986.",
    "Radosavovic et al., 2020": "Radosavovic I, Kosaraju RP, Girshick R, He K, Dollár P (2020). Designing network "
    "design spaces. IEEE CVPR, 10428-10436.",
    "Ma et al., 2018": "Ma N, Zhang X, Zheng HT, Sun J (2018). ShuffleNet V2: practical guidelines for efficient CNN "
    "architecture design. ECCV, 116-131.",
    "Prince et al., 2022": "Prince JS, Charest I, Kurzawski JW, Pyles JA, Tarr MJ, Kay KN (2022). Improving the "
    "accuracy of single-trial fMRI response estimates using GLMsingle. eLife 11:e77599.",
    "Mölder et al., 2021": "Mölder F, Jablonski KP, Letcher B, and 12 others (2021). Sustainable data analysis with "
    "Snakemake. F1000Research 10:33.",
    "Gramfort et al., 2013": "Gramfort A, Luessi M, Larson E, Engemann DA, Strohmeier D, Brodbeck C, and 5 others "
    "(2013). MEG and EEG data analysis with MNE-Python. Front Neurosci 7:267.",
    "Taylor et al., 2023": "Taylor PA, Reynolds RC, Calhoun V, Gonzalez-Castillo J, Handwerker DA, Bandettini PA, "
    "Mejia AF, Chen G (2023). Highlight results, don't hide them: enhance interpretation, reduce biases and improve "
    "reproducibility. NeuroImage 274:120138.",
}
"""Author and year, as texts cite a paper, and its reference. An entry of a table names its paper by this key."""


def cited(text: str) -> list[str]:
    """Return the references of all papers that a text cites.

    Examples
    --------
    >>> cited("whitened (Ledoit & Wolf, 2004)")[0][:22]
    'Ledoit O, Wolf M (2004'
    """
    return [reference for citation, reference in PAPERS.items() if citation in text]


def joined(names: Sequence[str]) -> str:
    """Join names as a sentence does.

    Examples
    --------
    >>> joined(["a", "b", "c"]), joined(["a"])
    ('a, b and c', 'a')
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
